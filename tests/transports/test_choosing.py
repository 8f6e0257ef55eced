"""Transports that no list names: those of a scenario alone, of another package, of a file."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from testbed.cli.requirements import missing_for_transports, transport_summaries
from testbed.experiment.cell import Cell
from testbed.experiment.choosing import (
    load_transport,
    only_transports,
    transport_choice,
    transport_choices,
    transport_names,
)
from testbed.experiment.explanations import ScenarioError
from testbed.experiment.loading import programs_of
from testbed.experiment.scenario import SCENARIOS, load_scenario
from testbed.experiment.unfolding import cell_id, cells
from testbed.record.manifest import KernelBuild, Manifest
from testbed.run.provenance import manifest
from tests.transports.test_conformance import FAULTY
from transports import fec, obfs4, pt

FUTURE = "from __future__ import annotations\n"
LIST = """transports = ["direct", "obfs4"]"""
TABLES = """
[transports.direct]

[transports.mine]
kind = "pt"
name = "obfs4"
server = ["obfs4proxy", "-logLevel=INFO"]
client = ["obfs4proxy"]
server_options = { iat-mode = "1" }

[transports.obfs4]
iat_mode = 2

[transports.mine-and-parity]
kind = "fec"
inner = "mine"

[transports.both]
kind = "fec"
inner = { kind = "pt", name = "obfs4", server = ["a"], client = ["/opt/b"] }
"""
MINE = pt.Transport("obfs4", ("obfs4proxy", "-logLevel=INFO"), ("obfs4proxy",), {"iat-mode": "1"})
KERNEL = KernelBuild("virtual", "6.12")


def with_tables(folder: Path, tables: str = TABLES) -> Path:
    text = (SCENARIOS / "ru-calls-2025-08.toml").read_text()
    assert LIST in text
    path = folder / "mine.toml"
    path.write_text(text.replace(LIST, "") + tables)
    return path


def by_title(plan: list[Cell]) -> dict[str, Cell]:
    return {str(cell.transport): cell for cell in plan}


def test_a_scenario_brings_its_own_programs(tmp_path: Path) -> None:
    found = by_title(cells(load_scenario(str(with_tables(tmp_path)))))
    assert list(found) == ["direct", "mine", "obfs4 {iat_mode = 2}", "mine-and-parity", "both"]
    made = {title: load_transport(cell.transport) for title, cell in found.items()}
    assert made["mine"] == MINE
    assert made["obfs4 {iat_mode = 2}"] == obfs4.Transport(2)
    assert made["mine-and-parity"] == fec.Transport(MINE)
    assert [program.name for program in programs_of(made["mine"])] == ["obfs4proxy"]
    assert [program.name for program in programs_of(made["both"])] == ["a", "/opt/b"]
    assert cell_id(found["mine"]).startswith("max--mine--")


def test_one_of_a_scenarios_own_can_be_asked_for_by_its_title(tmp_path: Path) -> None:
    scenario = load_scenario(str(with_tables(tmp_path)))
    chosen = replace(
        scenario, transports=only_transports(scenario.transports, ["mine", "wireguard"])
    )
    assert list(by_title(cells(chosen))) == ["mine", "wireguard"]


def test_what_stands_behind_a_title_is_in_the_manifest(tmp_path: Path) -> None:
    def inputs(tables: str) -> dict[str, str]:
        scenario = load_scenario(str(with_tables(tmp_path, tables)))
        described = manifest(scenario, cells(scenario), KERNEL)
        assert Manifest.from_json(described.to_json()) == described
        return {k: v for k, v in described.inputs.items() if k.startswith("transport ")}

    before, after = inputs(TABLES), inputs(TABLES.replace('iat-mode = "1"', 'iat-mode = "2"'))
    assert before.keys() == after.keys()
    assert {key for key in before if before[key] != after[key]} == {"transport mine"}


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('kind = "pt"', 'kind = "tp"', r"no transport 'tp'; there are anytls, "),
        ("client =", "clinet =", r"transport mine: it has no parameter clinet, only client, "),
        ('client = ["obfs4proxy"]\n', "", r"transport mine: .*missing .*'client'"),
        ('client = ["obfs4proxy"]\n', "client = []\n", r"mine: client: a command is a list of a "),
        ('client = ["obfs4proxy"]\n', 'client = "obfs4proxy"\n', r"mine: client: .*valid array"),
        ('client = ["obfs4proxy"]\n', 'client = ["./mine"]\n', r"client: './mine' is neither"),
        ('"1" }', "1 }", r"transport mine: server_options\.iat-mode: .*valid string"),
        ('inner = "mine"', 'inner = "their"', r"no transport 'their'"),
        ("[transports.direct]", "[transports]\ndirect = 3", r"transports: direct must be a table"),
    ],
)
def test_a_wrong_table_says_what_was_expected(
    tmp_path: Path, before: str, after: str, said: str
) -> None:
    assert before in TABLES
    path = with_tables(tmp_path, TABLES.replace(before, after, 1))
    with pytest.raises(ScenarioError, match=said):
        cells(load_scenario(str(path)))


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("fec {inner = obfs4", "the closing brace is missing"),
        ("fec {inner = obfs4} ", ""),
        ("fec {inner = obfs4} window = 3", "the closing brace is missing"),
        ("fec {inner = obfs4 {iat_mode = 1}", "opening and closing braces do not match"),
        ("fec {inner = obfs4 {iat_mode = 1, window = 3}}", "obfs4: it has no parameter window"),
        ("fec {inner = obfs4 {iat_mode = 1}, window = 3}", ""),
        ("fec", "transport fec: it is missing the parameter 'inner'"),
        ("openvpn {over = sctp}", "transport openvpn: over: Input should be 'udp' or 'tcp'"),
    ],
)
def test_a_wrong_entry_says_what_was_expected(entry: str, said: str) -> None:
    if not said:
        load_transport(transport_choice(entry))
        return
    with pytest.raises(ScenarioError, match=said):
        load_transport(transport_choice(entry))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of modules with an installed package that brings three transports."""
    folder = tmp_path / "site"
    (folder / "theirs-1.0.dist-info").mkdir(parents=True)
    (folder / "theirs-1.0.dist-info" / "METADATA").write_text("Name: theirs\nVersion: 1.0\n")
    (folder / "theirs-1.0.dist-info" / "entry_points.txt").write_text(
        "[testbed.transports]\n"
        "theirs = their_tunnel\nhalf = their_half\ngone = their_gone\nobfs4 = their_tunnel\n"
    )
    text = (Path(pt.__file__).parent / "_new.py").read_text()
    (folder / "their_tunnel.py").write_text(text)
    (folder / "their_half.py").write_text("import nosuchmodule")
    monkeypatch.syspath_prepend(str(folder))
    return folder


def test_a_package_brings_a_transport(package: Path, tmp_path: Path) -> None:
    assert {"theirs", "half", "gone"} < set(transport_names())
    summaries = transport_summaries()
    assert summaries["theirs"].title.startswith("One line for `testbed list transports`.")
    assert summaries["half"].broken.startswith("transport half: ModuleNotFoundError")
    assert "the module their_gone has no Python file" in summaries["gone"].broken
    assert "half" not in missing_for_transports()
    assert transport_choice("obfs4").source == ""  # ours go first
    scenario = load_scenario(str(with_tables(tmp_path, '[transports."theirs {key_bytes = 9}"]')))
    with pytest.raises(ScenarioError, match="no transport"):
        cells(scenario)
    scenario = replace(scenario, transports=("theirs {key_bytes = 9}", "fec {inner = theirs}"))
    text = (package / "their_tunnel.py").read_text()
    described = manifest(scenario, cells(scenario), KERNEL)
    assert described.definitions.transports["theirs"].source == text


def test_two_packages_that_bring_one_name_are_named_and_neither_is_taken(
    package: Path, tmp_path: Path
) -> None:
    entries = package / "theirs-1.0.dist-info" / "entry_points.txt"
    another = package / "more-1.0.dist-info"
    another.mkdir()
    (another / "METADATA").write_text("Name: more\nVersion: 1.0\n")
    (another / "entry_points.txt").write_text("[testbed.transports]\ntheirs = their_half\n")
    assert "theirs = their_tunnel" in entries.read_text()
    with pytest.raises(ScenarioError, match=r"transport theirs: .*their_half, their_tunnel"):
        transport_choice("theirs")
    assert "several packages" in transport_summaries()["theirs"].broken


@pytest.mark.guest
def test_a_packages_transport_keeps_the_rules_although_the_guest_has_it_as_text_only(
    package: Path, tmp_path: Path
) -> None:
    command = [
        sys.executable,
        "-m",
        "testbed",
        "check",
        "transport",
        "fec {inner = theirs}",
    ]
    environment = {**os.environ, "PYTHONPATH": str(package), "COLUMNS": "100"}
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "15 of 15 rules kept" in done.stdout


def test_a_file_may_be_wrapped(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(FAULTY)
    choice = transport_choice(f"fec {{inner = {path}}}")
    inner = choice.parameters["inner"]
    assert (inner.name, inner.source) == ("mine", FAULTY)
    assert isinstance(load_transport(choice), fec.Transport)


@pytest.fixture
def two_files(tmp_path: Path) -> tuple[Path, Path]:
    """Two files of one name in different folders, which are not the same."""
    files = tmp_path / "a" / "mine.py", tmp_path / "b" / "mine.py"
    for file in files:
        file.parent.mkdir()
        file.write_text(f"{FAULTY}\nPLACE = {file.parent.name!r}\n")
    return files


@pytest.mark.parametrize(
    "entries",
    [
        "['{a}', '{b}']",
        "['fec {{inner = {a}}}', 'fec {{inner = {b}}}']",
        "['{a}', {{name = '{b}', title = 'mine'}}]",
        "['{a}', {{name = 'direct', title = 'mine'}}]",
    ],
)
def test_two_transports_of_one_name_are_refused_and_both_are_named(
    tmp_path: Path, two_files: tuple[Path, Path], entries: str
) -> None:
    a, b = two_files
    tables = f"transports = {entries.format(a=a, b=b)}\n"
    path = tmp_path / "two.toml"
    path.write_text(f"title = 't'\nquestion = 'q'\n{tables}")
    with pytest.raises(ScenarioError, match=r"would both be called .*mine.*; give one a name of"):
        cells(load_scenario(str(path)))
    same = tables.replace(str(b), str(a)).replace("'direct'", f"'{a}'")
    if "title" not in same:
        path.write_text(f"title = 't'\nquestion = 'q'\n{same}")
        with pytest.raises(ScenarioError, match="is there twice"):
            load_scenario(str(path))


def test_a_file_with_the_name_of_one_of_ours_does_not_replace_it(
    tmp_path: Path, two_files: tuple[Path, Path]
) -> None:
    ours = two_files[0].rename(two_files[0].with_name("direct.py"))
    with pytest.raises(ScenarioError, match=rf"'direct' and '{ours}' would both be called"):
        transport_choices(("direct", str(ours)))
    assert len(transport_choices(("direct", "direct"))) == 1


def test_a_file_wraps_another_of_its_name(tmp_path: Path, two_files: tuple[Path, Path]) -> None:
    wrapper, inner = two_files
    text = Path(fec.__file__).read_text().replace("window: int", "window: Mine")
    text = text.replace("@dataclass", "Mine = int\n\n\n@dataclass", 1)
    wrapper.write_text(text.replace("from coll", f"{FUTURE}from coll", 1))
    inner_first = f"{wrapper} {{inner = {inner}, window = 3}}"
    assert load_transport(transport_choice(inner_first)).window == 3  # type: ignore[attr-defined]
