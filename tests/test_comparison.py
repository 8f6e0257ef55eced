"""What a reader of a comparison, a diff or a table relies on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import testbed
from testbed.analysis.comparison import compare
from testbed.analysis.dataframes import export
from testbed.analysis.difference import difference
from testbed.cli.app import app
from testbed.record.results import CELL, SCHEMA, WALL, ResultsError, Run
from testbed.show.comparison_tables import comparison_json

RUSSIA = "ru-calls-2025-08"


def cell(
    transport: str, seed: int, r: float | None, *, verdict: str = "good", **changes: object
) -> dict[str, Any]:
    """A cell's content as a run leaves it; `r` None: there was no call."""
    direction = r if r is None else {
        "concealed_share": 0.01, "longest_gap_s": 0.1, "mouth_to_ear_median_s": 0.1,
        "mouth_to_ear_p95_s": 0.12, "r_fullband_100": r, "r_codec": "proxy", "verdict": verdict,
        "reasons": [],
    }  # fmt: skip
    rules = {"stun": {"matched": 5, "dropped": 2}, "domestic": {"matched": 1, "dropped": 1}}
    content = {
        "schema": 1,
        "messenger": {"name": "whatsapp", "title": "WhatsApp (model)"},
        "transport": transport,
        "censor": RUSSIA,
        "seed": seed,
        "duration_s": 30.0,
        "quality": {
            "set_up": {"outcome": "timed out" if r is None else "connected", "elapsed_s": 0.5},
            "drop": None,
            "up": direction,
            "down": direction,
            "verdict": "no call" if r is None else verdict,
            "reasons": [],
        },
        "chat": {"sent": 3, "delivered": 3, "median_s": 0.04, "longest_s": 0.05},
        "record": {
            "transport_connect_s": 0.1,
            "call": {"ended_s": 30.0 if r is None else 32.0},
            "transport": {"set_up": {}, "call": {"wire_packets_up": 9, "wire_bytes_up": 900}},
            "middlebox": {"packets_asked": 7, "rules": rules, "events": [[0.5, "udp a > b", "x"]]},
            "virtual_s": 33.0,
        },
    }
    return {**content, **changes}


def made(folder: Path, *cells: dict[str, Any], **manifest: object) -> Run:
    """A run's folder with cells in it."""
    names = [f"whatsapp--{c['transport']}--{c['censor']}--seed-{c['seed']}" for c in cells]
    for name, content in zip(names, cells, strict=True):
        (folder / "cells" / name).mkdir(parents=True)
        (folder / "cells" / name / CELL).write_text(json.dumps(content))
        wall = {"wall_s": 1.0 + len(str(folder)), "virtual_s": 33.0}
        (folder / "cells" / name / WALL).write_text(json.dumps(wall))
    content = {
        "schema": 1,
        "scenario": {"name": "s", "title": "t", "question": "q"},
        "kernel": {"kind": "virtual"},
        "versions": {"testbed": "1"},
        "inputs": {"links": "a"},
        "cells": names,
        **manifest,
    }
    (folder / "run.json").write_text(json.dumps(content))
    return Run(folder)


def two_transports(obfs4_r: float = 85.0) -> list[dict[str, Any]]:
    direct = [cell("direct", seed, 30.0 + seed, verdict="unusable") for seed in (1, 2, 3)]
    return direct + [cell("obfs4", seed, obfs4_r + seed) for seed in (1, 2, 3)]


def test_a_transport_is_compared_with_direct_calls_of_the_same_seeds(tmp_path: Path) -> None:
    direct, obfs4 = compare(made(tmp_path, *two_transports()).results())
    assert (direct.usable.value, obfs4.usable.value) == (0.0, 1.0)
    assert direct.usable_effect is None
    assert obfs4.usable_effect is not None
    assert obfs4.usable_effect.excludes_zero
    assert obfs4.rating_effect is not None
    assert (obfs4.rating_effect.value, obfs4.rating_effect.low) == (55.0, 55.0)
    assert (obfs4.rank, direct.rank) == (1, 2)
    assert obfs4.calls == obfs4.rating.n == 3


def test_a_call_that_was_not_set_up_counts_as_the_worst_and_not_as_unmeasured(
    tmp_path: Path,
) -> None:
    calls = [cell("obfs4", 1, 85.0), cell("obfs4", 2, None), cell("obfs4", 3, None)]
    [obfs4] = compare(made(tmp_path, *calls).results())
    assert obfs4.rating.value == 0
    assert obfs4.medians["r_fullband_100"].n == 1
    assert obfs4.median_verdict.label == "no call"
    # What is not known is null, and not a number that JSON does not have.
    [as_json] = comparison_json([obfs4])
    assert as_json["r_fullband_100"]["low"] is None
    json.dumps(as_json, allow_nan=False)


def test_links_that_are_compared_are_not_added_up(tmp_path: Path) -> None:
    lines = [cell("direct", 1, 80.0, links="4g"), cell("direct", 2, 50.0, links="3g")]
    censors = [c.censor for c in compare(made(tmp_path, *lines).results())]
    assert censors == [f"{RUSSIA} over 4g", f"{RUSSIA} over 3g"]


def test_topologies_that_are_compared_are_not_added_up(tmp_path: Path) -> None:
    sides = [
        cell("direct", 1, 80.0, topology="one-sided"),
        cell("direct", 2, 50.0, links="4g", topology="both-sides"),
    ]
    run = made(tmp_path, *sides)
    censors = [c.censor for c in compare(run.results())]
    assert censors == [f"{RUSSIA} one-sided", f"{RUSSIA} over 4g both-sides"]
    assert list(testbed.load(run.folder).cells["topology"]) == ["one-sided", "both-sides"]


def test_a_run_does_not_differ_from_itself(tmp_path: Path) -> None:
    one = made(tmp_path / "a", *two_transports())
    other = made(tmp_path / "b", *two_transports())
    assert difference(one, other).is_empty
    assert difference(one, other).cells == 6
    assert CliRunner().invoke(app, ["diff", str(one.folder), str(other.folder)]).exit_code == 0


def test_a_diff_tells_a_change_from_the_spread_of_seeds(tmp_path: Path) -> None:
    before = made(tmp_path / "a", *two_transports(85.0))
    slight = difference(before, made(tmp_path / "b", *two_transports(86.0)))
    large = difference(before, made(tmp_path / "c", *two_transports(70.0)))
    assert [(s.measure, s.is_beyond_spread) for s in slight.shifts] == [("r_fullband_100", False)]
    assert [(s.measure, s.is_beyond_spread) for s in large.shifts] == [("r_fullband_100", True)]
    assert large.shifts[0].effect.value == -15


def test_a_diff_tells_inputs_verdicts_and_missing_cells(tmp_path: Path) -> None:
    before = made(tmp_path / "a", *two_transports())
    changed = [*two_transports()[:-1], cell("obfs4", 9, 40.0)]
    changed[3] = cell("obfs4", 1, 86.0, verdict="poor")
    after = made(tmp_path / "b", *changed, inputs={"links": "b"}, versions={})
    found = difference(before, after)
    assert {c.part for c in found.made_of} == {"inputs: links", "versions: testbed"}
    assert [(c.before, c.after) for c in found.verdicts] == [("good", "poor")]
    assert found.only_before[0].endswith("obfs4--ru-calls-2025-08--seed-3")
    assert found.only_after[0].endswith("seed-9")
    answer = CliRunner().invoke(app, ["diff", str(before.folder), str(after.folder)])
    assert answer.exit_code == 1
    assert "inputs: links: a -> b" in answer.stdout


def test_one_seed_does_not_tell_a_change_from_chance(tmp_path: Path) -> None:
    before = made(tmp_path / "a", cell("direct", 1, 30.0))
    found = difference(before, made(tmp_path / "b", cell("direct", 1, 90.0)))
    assert [shift.is_beyond_spread for shift in found.shifts] == [None]


def test_load_gives_cells_steps_and_events(tmp_path: Path) -> None:
    steps = [{"from_s": 1.0, "concealed_share": 0.25, "r_fullband_100": 60.0}]
    newer = cell("obfs4", 1, 80.0, schema=SCHEMA)
    newer["quality"]["up"] = {**newer["quality"]["up"], "steps": steps}
    newer["quality"]["symptoms"] = ["robotic"]
    folder = made(tmp_path, cell("direct", 1, None), newer, schema=SCHEMA).folder
    loaded = testbed.load(folder)
    assert list(loaded.cells["usable"]) == [False, True]
    assert list(loaded.cells["set_up_s"].isna()) == [True, False]
    assert list(loaded.cells["middlebox_dropped_packets"]) == [3, 3]
    assert list(loaded.cells["symptoms"].iloc[1]) == ["robotic"]
    assert loaded.steps[["direction", "concealed_share"]].to_numpy().tolist() == [["up", 0.25]]
    assert list(loaded.events["event"]) == ["x", "x"]


def test_equal_runs_give_equal_parquet_files_whatever_they_cost(tmp_path: Path) -> None:
    one, other = (made(tmp_path / name, *two_transports()) for name in ("a", "other"))
    paths = [export(run, run.folder / "tables") for run in (one, other)]
    assert [p.name for p in paths[0]] == ["cells.parquet", "steps.parquet", "events.parquet"]
    assert [p.read_bytes() for p in paths[0]] == [p.read_bytes() for p in paths[1]]


def test_no_run_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="no run's folder"):
        testbed.load(tmp_path)


def test_compare_prints_n_intervals_and_ranks_within_100_columns(tmp_path: Path) -> None:
    run = made(tmp_path, *two_transports())
    answer = CliRunner().invoke(app, ["compare", str(run.folder)])
    assert answer.exit_code == 0
    assert max(map(len, answer.stdout.splitlines())) <= 100
    assert "44%-100%" in answer.stdout
    told = " ".join(answer.stdout.split())
    assert "of 3 seeds holds the true median with 75% at most" in told
    legend = answer.stdout[answer.stdout.index("n: calls") :].splitlines()
    assert all(len(line) > 80 for line in legend[:-1])  # a paragraph, and no breaks within


def test_one_seed_is_not_called_1_seeds(tmp_path: Path) -> None:
    run = made(tmp_path, cell("direct", 1, 30.0))
    told = " ".join(CliRunner().invoke(app, ["compare", str(run.folder)]).stdout.split())
    assert "1 seeds" not in told
    assert "of which one seed gives none" in told


def test_a_diff_shows_what_differs_with_enough_digits(tmp_path: Path) -> None:
    before = made(tmp_path / "a", *(cell("direct", seed, 34.0) for seed in (1, 2, 3)))
    after = made(tmp_path / "b", *(cell("direct", seed, 34.02) for seed in (1, 2, 3)))
    answer = CliRunner().invoke(app, ["diff", str(before.folder), str(after.folder)])
    assert "34.00 34.02" in " ".join(answer.stdout.split())
    single = made(tmp_path / "c", *(cell("direct", seed, 33.0 + seed % 3) for seed in (3, 1, 2)))
    answer = CliRunner().invoke(app, ["diff", str(before.folder), str(single.folder)])
    told = " ".join(answer.stdout.split())
    assert "34 the same" in told
    assert "0 medians changed" in told
    assert "Of 1 more medians, only single calls changed" in told
