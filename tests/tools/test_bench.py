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
from testbed.guest.kernel.builder import Kernel
from testbed.guest.kernel.job import Counts
from testbed.run.runner import in_guest
from testbed.tools import bench_record, benchmark


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
