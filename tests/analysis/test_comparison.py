"""What a reader of a comparison, a diff or a table relies on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

import testbed
from testbed.analysis.comparison import compare
from testbed.analysis.dataframes import export
from testbed.analysis.difference import difference
from testbed.analysis.groups import names_of
from testbed.call.quality.measures import Step
from testbed.call.quality.symptoms import Symptom
from testbed.call.quality.verdict import Verdict
from testbed.cli.app import app
from testbed.record.cell_record import CellRecord
from testbed.record.results import ResultsError, Wall
from testbed.show.comparison_tables import comparison_json
from tests.records import RUSSIA, record, write_run


def two_transports(obfs4_r: float = 85.0) -> list[CellRecord]:
    direct = [record("direct", seed=s, r=30.0 + s, verdict=Verdict.UNUSABLE) for s in (1, 2, 3)]
    return direct + [record("obfs4", seed=s, r=obfs4_r + s) for s in (1, 2, 3)]


def test_a_transport_is_compared_with_direct_calls_of_the_same_seeds(tmp_path: Path) -> None:
    obfs4, direct = compare(write_run(tmp_path / "run", two_transports()).cells())
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
    calls = [record("obfs4", seed=seed, r=85.0 if seed == 1 else None) for seed in (1, 2, 3)]
    cells = write_run(tmp_path / "run", calls).cells()
    [obfs4] = compare(cells)
    assert obfs4.rating.value == 0
    assert obfs4.medians["r_fullband_100"].n == 1
    assert obfs4.median_verdict.label == "no call"
    # What is not known is null, and not a number that JSON does not have.
    [as_json] = json.loads(comparison_json([obfs4], names_of(cells)), parse_constant=pytest.fail)
    assert as_json["r_fullband_100"]["low"] is None


def test_links_that_are_compared_are_not_added_up(tmp_path: Path) -> None:
    lines = [replace(record(seed=seed), links=links) for seed, links in ((1, "4g"), (2, "3g"))]
    censors = [c.key.censor for c in compare(write_run(tmp_path / "run", lines).cells())]
    assert censors == [f"{RUSSIA} over 4g", f"{RUSSIA} over 3g"]


def test_topologies_that_are_compared_are_not_added_up(tmp_path: Path) -> None:
    sides = [
        replace(record(seed=1), topology="one-sided"),
        replace(record(seed=2), links="4g", topology="both-sides"),
    ]
    run = write_run(tmp_path / "run", sides)
    censors = [c.key.censor for c in compare(run.cells())]
    assert censors == [f"{RUSSIA} one-sided", f"{RUSSIA} over 4g both-sides"]
    assert list(testbed.load(run.folder).cells["topology"]) == ["one-sided", "both-sides"]


def test_a_run_does_not_differ_from_itself(tmp_path: Path) -> None:
    one = write_run(tmp_path / "a", two_transports())
    other = write_run(tmp_path / "b", two_transports())
    assert difference(one, other).is_empty
    assert difference(one, other).cells == 6
    assert CliRunner().invoke(app, ["diff", str(one.folder), str(other.folder)]).exit_code == 0


def test_a_diff_distinguishes_a_change_from_the_spread_of_seeds(tmp_path: Path) -> None:
    before = write_run(tmp_path / "a", two_transports(85.0))
    slight = difference(before, write_run(tmp_path / "b", two_transports(86.0)))
    large = difference(before, write_run(tmp_path / "c", two_transports(70.0)))
    assert [(s.measure, s.is_beyond_spread) for s in slight.shifts] == [("r_fullband_100", False)]
    assert [(s.measure, s.is_beyond_spread) for s in large.shifts] == [("r_fullband_100", True)]
    assert large.shifts[0].effect.value == -15


def test_a_diff_lists_inputs_verdicts_and_missing_cells(tmp_path: Path) -> None:
    before = write_run(tmp_path / "a", two_transports())
    changed = [*two_transports()[:-1], record("obfs4", seed=9, r=40.0)]
    changed[3] = record("obfs4", seed=1, r=86.0, verdict=Verdict.POOR)
    about = replace(before.manifest(), inputs={"links": "b"}, versions={})
    after = write_run(tmp_path / "b", changed, about=about)
    found = difference(before, after)
    assert {c.part for c in found.made_of} == {"inputs: links", "versions: testbed"}
    assert [(c.before, c.after) for c in found.verdicts] == [("good", "poor")]
    assert found.only_before[0].endswith("obfs4--ru-calls-2025-08--seed-3")
    assert found.only_after[0].endswith("seed-9")
    answer = CliRunner().invoke(app, ["diff", str(before.folder), str(after.folder)])
    assert answer.exit_code == 1
    assert "inputs: links: abcdef -> b" in answer.stdout


def test_one_seed_does_not_distinguish_a_change_from_chance(tmp_path: Path) -> None:
    before = write_run(tmp_path / "a", [record(r=30.0)])
    found = difference(before, write_run(tmp_path / "b", [record(r=90.0)]))
    assert [shift.is_beyond_spread for shift in found.shifts] == [None]


def test_load_gives_cells_steps_and_events(tmp_path: Path) -> None:
    heard = record("obfs4", steps=[Step(1.0, 0.25, 60.0)])
    metallic = replace(heard, quality=replace(heard.quality, symptoms=(Symptom.METALLIC,)))
    folder = write_run(tmp_path / "run", [record(r=None), metallic]).folder
    loaded = testbed.load(folder)
    assert list(loaded.cells["usable"]) == [False, True]
    assert list(loaded.cells["set_up_s"].isna()) == [True, False]
    assert list(loaded.cells["middlebox_dropped_packets"]) == [3, 3]
    assert list(loaded.cells["symptoms"].iloc[1]) == ["metallic"]
    assert loaded.steps[["direction", "concealed_share"]].to_numpy().tolist() == [
        ["up", 0.25],
        ["down", 0.25],
    ]
    assert list(loaded.events["event"]) == ["x", "x"]


def test_equal_runs_give_equal_parquet_files_whatever_they_cost(tmp_path: Path) -> None:
    one, other = (
        write_run(tmp_path / f"{wall_s}", two_transports(), wall=Wall(wall_s, 33.0))
        for wall_s in (1.0, 2.0)
    )
    paths = [export(run, run.folder / "tables") for run in (one, other)]
    assert [p.name for p in paths[0]] == ["cells.parquet", "steps.parquet", "events.parquet"]
    assert [p.read_bytes() for p in paths[0]] == [p.read_bytes() for p in paths[1]]


def test_no_run_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="not a run's folder"):
        testbed.load(tmp_path)


def test_compare_prints_n_intervals_and_ranks_within_100_columns(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", two_transports())
    answer = CliRunner().invoke(app, ["compare", str(run.folder)])
    assert answer.exit_code == 0
    assert max(map(len, answer.stdout.splitlines())) <= 100
    assert "44%-100%" in answer.stdout
    told = " ".join(answer.stdout.split())
    assert "for 3 seeds contains the true median with a probability of at most 75%" in told
    legend = answer.stdout[answer.stdout.index("n: calls") :].partition("\n\n")[0].splitlines()
    assert all(len(line) > 80 for line in legend[:-1])  # a paragraph, and no breaks within


def test_json_has_the_names_of_parquet_and_ids_beside_titles(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", two_transports())
    columns = set(testbed.load(run.folder).cells.columns)
    names = {"messenger", "messenger_title", "transport", "censor", "links"}
    assert names <= columns
    for name in ("compare", "saw"):
        [first, *_] = json.loads(CliRunner().invoke(app, [name, str(run.folder), "--json"]).stdout)
        assert (first["messenger"], first["messenger_title"]) == ("whatsapp", "WhatsApp (model)")
        assert {"messenger", "messenger_title", "transport", "censor", "links"} <= columns & set(
            first
        )


def test_one_seed_is_not_called_1_seeds(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [record(r=30.0)])
    told = " ".join(CliRunner().invoke(app, ["compare", str(run.folder)]).stdout.split())
    assert "1 seeds" not in told
    assert "not defined for one seed" in told


def test_a_diff_shows_what_differs_with_enough_digits(tmp_path: Path) -> None:
    before = write_run(tmp_path / "a", [record(seed=seed, r=34.0) for seed in (1, 2, 3)])
    after = write_run(tmp_path / "b", [record(seed=seed, r=34.02) for seed in (1, 2, 3)])
    answer = CliRunner().invoke(app, ["diff", str(before.folder), str(after.folder)])
    assert "34.00 34.02" in " ".join(answer.stdout.split())
    single = write_run(tmp_path / "c", [record(seed=seed, r=33.0 + seed % 3) for seed in (3, 1, 2)])
    answer = CliRunner().invoke(app, ["diff", str(before.folder), str(single.folder)])
    told = " ".join(answer.stdout.split())
    assert "34 the same" in told
    assert "0 medians changed" in told
    assert "1 more medians are the same although single calls changed" in told
