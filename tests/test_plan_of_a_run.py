"""What a dry run promises, and schemas that know each key of what ships."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from testbed.cli import app
from testbed.cli.dry_run import duration
from testbed.experiment import scenario
from testbed.experiment.cell import Cell, TransportChoice
from testbed.experiment.json_schemas import KINDS, schema
from testbed.experiment.scenario import load_messenger, load_scenario
from testbed.experiment.unfolding import cells
from testbed.record.results import WALL, Wall
from testbed.run.estimate import AROUND_S, Speeds, recorded_speeds
from tests.records import record, write_run


def recorded(
    results: Path, transport: str, censor: str, speed: float, messenger: str = "whatsapp"
) -> None:
    """Leave a run of one cell that went so fast."""
    call = record(transport, censor, messenger=messenger)
    name = f"{messenger}-{transport}-{censor}-{speed}"
    write_run(results / name, [call], wall=Wall(2.0, 2 * speed))


ENGINE = "telegram"


def cell(messenger: str, transport: str, censor: str) -> Cell:
    plan = cells(load_scenario("ru-calls-2025-08"))
    return replace(
        plan[0],
        messenger=load_messenger(messenger),
        transport=TransportChoice(transport),
        censor=replace(plan[0].censor, name=censor),
    )


def test_the_speed_is_estimated_from_the_nearest_recorded_cells(tmp_path: Path) -> None:
    recorded(tmp_path, "obfs4", "open", 20)
    recorded(tmp_path, "obfs4", "loss-5", 5)
    recorded(tmp_path, "obfs4", "loss-5", 6)
    (tmp_path / "run" / "cells" / "broken").mkdir(parents=True)
    (tmp_path / "run" / "cells" / "broken" / WALL).write_text("{")
    speeds = recorded_speeds(tmp_path)
    assert speeds.cells == 3
    assert speeds.of(cell("max", "obfs4", "open")) == 20
    assert speeds.of(cell("whatsapp", "obfs4", "loss-5")) == 5.5
    assert speeds.of(cell("whatsapp", "obfs4", "loss-20")) == 6
    other = cell("whatsapp", "tuic", "open")
    assert speeds.of(other) == Speeds().of(other)


def test_models_are_no_estimate_of_the_speed_of_a_real_engine(tmp_path: Path) -> None:
    recorded(tmp_path, "direct", "open", 90)
    engine = cell(ENGINE, "direct", "open")
    speeds = recorded_speeds(tmp_path)
    assert speeds.of(engine) == Speeds().of(engine) < 20
    assert speeds.unknown([engine, cell("whatsapp", "direct", "open")]) == [ENGINE]
    recorded(tmp_path, "direct", "open", 12, ENGINE)
    assert recorded_speeds(tmp_path).of(engine) == 12
    assert not recorded_speeds(tmp_path).unknown([engine])


def test_processors_share_cells_but_none_shares_one() -> None:
    plan = [cell for cell in cells(load_scenario("ru-calls-2025-08")) if cell.seed == 1][:4]
    speeds = Speeds({(str(cell.transport),): 10.0 for cell in plan}, 1)
    one = (30 + AROUND_S) / 10
    assert speeds.wall_s(plan, 1) == pytest.approx(4 * one)
    assert speeds.wall_s(plan, 2) == pytest.approx(2 * one)
    assert speeds.wall_s(plan, 64) == pytest.approx(one)
    assert speeds.wall_s([], 2) == 0


@pytest.mark.parametrize(
    ("seconds", "words"), [(40.2, "40 s"), (180, "3 min"), (4800, "80 min"), (7300, "2 h 2 min")]
)
def test_lengths_of_time_are_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_dry_run_shows_the_matrix_and_leaves_nothing(tmp_path: Path) -> None:
    asked = ["run", "quick", "--dry-run", "--messenger", "max", "--out", str(tmp_path / "run")]
    answer = CliRunner().invoke(app.app, asked)
    assert answer.exit_code == 0
    assert "6 cells, of which 0 are already recorded" in answer.stdout
    told = " ".join(answer.stdout.split())
    assert "1 topology one-sided" in told
    assert "The scenario excludes 2 of 8 combinations." in told
    assert not (tmp_path / "run").exists()


def test_a_narrowed_scenario_includes_no_more_than_what_is_asked() -> None:
    answer = CliRunner().invoke(
        app.app, ["run", "whitelist-day", "--dry-run", "--transport", "obfs4"]
    )
    assert "10 cells" in answer.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_schemas_are_what_editors_take_and_forbid_unknown_keys(kind: str) -> None:
    answer = CliRunner().invoke(app.app, ["schema", kind])
    content = json.loads(answer.stdout)
    assert content["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert content["additionalProperties"] is False
    assert "name" not in content["properties"]


def test_every_shipped_file_has_only_keys_of_its_schema() -> None:
    folders = {
        "scenario": scenario.SCENARIOS,
        "censor": scenario.CENSORS,
        "messenger": scenario.MESSENGERS,
        "links": scenario.LINK_FILES.sets,
        "trace": scenario.LINK_FILES.models,
        "nat": scenario.LINK_FILES.nats,
        "reports": scenario.SCENARIOS / "reports",
        "hypotheses": scenario.SCENARIOS / "hypotheses",
    }
    for kind, folder in folders.items():
        known = schema(kind)
        for path in folder.glob("*.toml"):
            content = tomllib.loads(path.read_text())
            assert set(content) <= set(known["properties"]), path
            enough = [one["required"] for one in known.get("anyOf", [known])]
            assert any(set(required) <= set(content) for required in enough), path
