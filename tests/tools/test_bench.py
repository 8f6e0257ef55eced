"""What the bench says of what it measured, and that it measures real cells."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from testbed.cli import app, bench
from testbed.experiment.scenario import ROOT
from testbed.guest.kernel.builder import Kernel
from testbed.guest.kernel.job import Counts
from testbed.run.runner import in_guest
from testbed.tools import bench_record, benchmark
from testbed.tools.bench_pairs import (
    Cost,
    PairError,
    Pairs,
    check_checkout,
    in_pairs,
    read_cost,
)


def said(ratios: Sequence[float], machine: str = "a processor") -> bench_record.Bench:
    """Make what a bench says of direct cells."""
    kind = benchmark.KINDS[0]
    cell = bench_record.CellCosts(
        what=kind.what,
        least_ratio=kind.least_ratio,
        virtual_s=60.0,
        ratio=list(ratios),
        wall_s=[60 / r for r in ratios],
        cpu_s=[59 / r for r in ratios],
        counts=Counts(12_345, 6_789, 5, 80_000_000),
        packets_asked=40,
        judged_s=[24 / r for r in ratios],
        together_s=[60 / r for r in ratios],
        gain=2.0,
    )
    return bench_record.Bench(
        bench_record.Machine(machine, 2, "6.1", "6.12", "3.11"),
        len(ratios),
        {kind.name: cell},
        {"obfs4": "obfs4proxy is not installed: apt install obfs4proxy"},
        {"mininet": bench_record.Beside("direct", why_not="the host kernel lacks netem")},
    )


def printed(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    measured: bench_record.Bench,
    *words: str,
) -> tuple[str, str]:
    """Have the command line say what a bench has measured."""
    monkeypatch.setattr(bench, "measure_cells", lambda *_: measured)
    monkeypatch.setattr(sys, "argv", ["testbed", "bench", *words])
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert ended.value.code == 0
    return capfd.readouterr()


def test_a_bench_says_what_is_fast_enough_what_was_not_measured_and_where(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    table, _ = printed(monkeypatch, capfd, said([110, 100, 90]))
    assert re.search(r"direct .* 100x +90-110 +120x +2\.00x +12,345 +6,789 +5 +80", table)
    assert "0 of 1 kinds of cells are as fast as required; too slow: direct." in table
    assert "obfs4: not measured: obfs4proxy is not installed" in table
    assert "mininet: not measured: the host kernel lacks netem" in table
    assert "a processor, 2 cores, Linux 6.1, guests 6.12, Python 3.11" in table
    assert "Judging a call takes at most 41% of its cell's processor time (direct)" in table
    assert max(map(len, table.splitlines())) <= 100


def test_a_bench_is_compared_to_an_earlier_one_beyond_the_rounds_spread(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    earlier = tmp_path / "before.json"
    earlier.write_text(said([110, 100, 90]).to_json())
    words = ("--against", str(earlier))
    same, _ = printed(monkeypatch, capfd, said([112, 105, 91]), *words)
    assert re.search(r"\+5\.0% +-4\.8%  within the range of rounds", same)
    slower, _ = printed(monkeypatch, capfd, said([80, 75, 89]), *words)
    assert re.search(r"-20\.0% +\+25\.0%  slower, beyond the range of rounds", slower)
    _, warned = printed(monkeypatch, capfd, said([80], "another"), *words)
    assert "Measured on another machine: cpu differ" in warned


def test_a_file_that_is_no_benchmark_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "other.json").write_text('{"cells": []}')
    monkeypatch.setattr(
        sys, "argv", ["testbed", "bench", "--against", str(tmp_path / "other.json")]
    )
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert ended.value.code == 2
    assert "was not written by `testbed bench --save`" in capfd.readouterr().err


def costs(*cpu_s: float, virtual_s: float = 60.0) -> list[Cost]:
    return [Cost(each, each + 0.1, virtual_s) for each in cpu_s]


def test_two_checkouts_run_each_kind_by_turns_and_in_turns_of_who_is_first() -> None:
    asked: list[tuple[str, str]] = []
    other = Path("/other")

    def measure(checkout: Path, kind: str, cpu: int) -> Cost:
        assert cpu == 3
        asked.append(("then" if checkout == other else "now", kind))
        if kind == "obfs4" and checkout == other:
            raise PairError("it has no obfs4proxy")
        return Cost(1.0 if checkout == other else 1.25, 2.0, 60.0)

    measured, lacking = in_pairs(other, ["direct", "obfs4"], 3, 3, lambda: None, measure)
    assert [who for who, kind in asked if kind == "direct"] == [
        "then",
        "now",
        "now",
        "then",
        "then",
        "now",
    ]
    assert lacking == {"obfs4": "it has no obfs4proxy"}
    [direct] = measured
    assert direct.cpu_ratio.value == 1.25
    assert direct.wall_ratio.value == 1.0


def test_a_comparison_by_turns_gives_the_median_of_the_pairs_ratios_with_its_interval(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "testbed").mkdir()
    (tmp_path / "lab").write_text("")
    # The machine becomes three times slower meanwhile, which no pair notices.
    then, now = costs(1, 2, 2.5, 2.6, 2.8, 3), costs(1.02, 2, 2.5, 2.6, 2.9, 3)
    pairs = [Pairs("direct", then, now), Pairs("engine", then, costs(*[2] * 6, virtual_s=66))]
    monkeypatch.setattr(bench, "in_pairs", lambda *_: (pairs, {"obfs4": "it lacks obfs4proxy"}))
    monkeypatch.setattr(bench, "guest_kernel", lambda: None)
    words = ["testbed", "bench", "--against", str(tmp_path), "--rounds", "6"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert ended.value.code == 1  # not all was compared
    said = capfd.readouterr().out
    assert re.search(r"direct +6 +2.55 +2.55 +1\.000 +1\.000-1\.0\d\d", said)
    assert "obfs4: not compared: it lacks obfs4proxy" in said
    assert "engine is another call now: it takes 1.100 times as much virtual time" in said
    assert "Medians of 6 pairs on one core, each with its interval of 95% confidence" in said
    assert max(map(len, said.splitlines())) <= 100


def test_a_checkout_is_asked_by_its_own_command_line() -> None:
    text = said([100]).to_json()
    cost = read_cost(text, "direct", Path("/other"))
    assert (cost.cpu_s, cost.wall_s, cost.virtual_s) == (0.59, 0.6, 60.0)
    for odd in ("", "{}", "[]", "null", '{"lacking": [], "cells": {"direct": {}}}', said([1, 2])):
        printed = odd if isinstance(odd, str) else odd.to_json()
        with pytest.raises(PairError, match="/other: its `bench --json` prints something else"):
            read_cost(printed, "direct", Path("/other"))
    with pytest.raises(PairError, match="/other: obfs4proxy is not installed: apt install"):
        read_cost(text, "obfs4", Path("/other"))


def test_a_folder_that_is_no_other_checkout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PairError, match="is no checkout of the testbed"):
        check_checkout(tmp_path)
    with pytest.raises(PairError, match="is this checkout: name another"):
        check_checkout(ROOT)


def test_every_kind_of_cell_is_one_that_can_be_made() -> None:
    for kind in benchmark.KINDS:
        assert kind.cell.duration_s == kind.duration_s


@pytest.mark.guest
def test_the_middlebox_decides_in_benchmark_cells_as_often_as_they_say(kernel: Kernel) -> None:
    chosen = [
        replace(kind, duration_s=6.0)
        for kind in benchmark.KINDS
        if kind.name in ("direct", "handed-over", "python")
    ]
    heard: list[benchmark.CellKind] = []
    cpus = sorted(os.sched_getaffinity(0))
    times = trio.run(benchmark.cell_times, chosen, in_guest(kernel), cpus, 1, heard.append)
    direct, handed_over, python = (times[kind.name] for kind in chosen)
    assert heard == chosen
    for each in times.values():
        assert len(each.wall_s) == 1
        assert 6 < each.virtual_s < 30
        assert each.counts.syscalls > each.counts.execs > 0
        assert 20e6 < each.counts.memory_bytes < 256e6
        assert bool(each.together_s) == (len(cpus) > 1)
    # 50 packets a second each way are asked of if they are not handed over
    assert direct.packets_asked < handed_over.packets_asked < 200 < python.packets_asked
