"""Calls over links that differ in their directions, change, and hold packets in a program."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from testbed.experiment.link import Change, Link, Links, Neighbour, Override
from testbed.experiment.trace import Trace
from testbed.guest.kernel.builder import Kernel
from testbed.record.cell_record import CellRecord
from testbed.record.observation import DirectionRecord, read_frames
from testbed.record.results import Run
from tests.lab.conftest import short_cell
from tests.lab.test_cells_in_guest import conducted

pytestmark = pytest.mark.guest


def call(kernel: Kernel, run: Run, links: Links, censor: str = "open") -> tuple[CellRecord, Path]:
    cell = replace(short_cell("whatsapp", "direct", censor, duration_s=8), links=links)
    [result] = conducted(kernel, run, cell)
    return result.record, result.folder


def delays_s(direction: DirectionRecord) -> list[tuple[float, float]]:
    """When each frame that arrived was sent, and its delay."""
    return [(direction.sent_s[n], at - direction.sent_s[n]) for n, at in direction.received]


def test_each_direction_of_a_call_has_its_own_delay(kernel: Kernel, run: Run) -> None:
    access = Link(delay_ms=10, up=Override(delay_ms=50))
    record, folder = call(kernel, run, Links("a test", access, backbone=Link(delay_ms=5)))
    frames = read_frames(folder / "frames.csv")
    assert record.observation.lines == {}
    for way, delay_s in (("up", 0.055), ("down", 0.015)):
        assert all(found == pytest.approx(delay_s, abs=1e-3) for _, found in delays_s(frames[way]))


def test_a_gap_loses_what_is_sent_in_it_and_the_call_goes_on_slower(
    kernel: Kernel, run: Run
) -> None:
    access = Link(delay_ms=10, changes=(Change(at_s=5, gap_s=1, delay_ms=80),))
    _, folder = call(kernel, run, Links("a test", access))
    for direction in read_frames(folder / "frames.csv").values():
        found = delays_s(direction)
        assert not [sent_s for sent_s, _ in found if 4.02 < sent_s < 4.98]
        before = [delay_s for sent_s, delay_s in found if sent_s < 3.9]
        after = [delay_s for sent_s, delay_s in found if sent_s > 5.1]
        assert before == pytest.approx([0.01] * len(before), abs=1e-3)
        assert after == pytest.approx([0.08] * len(after), abs=1e-3)


@pytest.mark.parametrize("where", ["access", "backbone"])
def test_a_rate_that_falls_below_the_call_fills_the_queue_in_that_direction_alone(
    kernel: Kernel, run: Run, where: str
) -> None:
    """On the backbone the censor's middlebox sends, and forwards settled flows past its hooks."""
    low = Override(rate_mbps=0.02)
    link = Link(
        rate_mbps=5,
        queue_bytes=8000,
        changes=(Change(at_s=3, up=low), Change(at_s=5, up=Override(rate_mbps=5))),
    )
    given = Links("a test", access=link) if where == "access" else Links("a test", backbone=link)
    record, folder = call(kernel, run, given)
    frames = read_frames(folder / "frames.csv")
    late = {way: [d for _, d in delays_s(frames[way]) if d > 0.1] for way in frames}
    assert late["up"]
    assert not late["down"]
    # 8000 bytes at 20 kbit/s, or less: the rate rises again while they wait.
    assert 0.5 < max(late["up"]) < 3.2
    lines = record.observation.lines
    assert set(lines) == {f"{where} up", f"{where} down"}
    up = lines[f"{where} up"]
    assert max(up.longest_wait_s[:6]) < 0.01
    assert max(up.longest_wait_s[6:10]) == pytest.approx(max(late["up"]), abs=0.2)
    assert all(sent * 8 / 0.5 < 24_000 for sent in up.sent_bytes[6:10])
    assert max(lines[f"{where} down"].longest_wait_s) < 0.01


def test_a_call_waits_while_its_line_s_trace_delivers_nothing(
    kernel: Kernel, run: Run, tmp_path: Path
) -> None:
    """Enough at each millisecond, but nothing from 3 to 4 s after dialling, in one direction."""
    busy = [*range(1, 3000), *range(4000, 20_000)]
    (tmp_path / "mine").write_text("".join(f"{each}\n" for each in busy))
    trace = Trace(str(tmp_path / "mine"), offset_s=0)
    access = Link(delay_ms=10, down=Override(trace=trace))
    record, folder = call(kernel, run, Links("a test", access))
    frames = read_frames(folder / "frames.csv")
    late = [(at, d) for at, d in delays_s(frames["down"]) if d > 0.1]
    assert max(delay_s for _, delay_s in late) == pytest.approx(1.01, abs=0.03)
    assert all(at + delay_s == pytest.approx(4.01, abs=0.01) for at, delay_s in late)
    assert not [d for _, d in delays_s(frames["up"]) if d > 0.1]
    assert max(record.observation.lines["access down"].longest_wait_s) > 0.9


def test_a_neighbours_upload_delays_a_call_as_far_as_the_queue_is_deep(
    kernel: Kernel, run: Run
) -> None:
    """Gettys, Nichols, Bufferbloat, 2011: TCP fills a queue, so a deep one delays all others."""
    cells = []
    lines: list[tuple[int, Neighbour]] = [
        (250_000, "none"),
        (15_000, "upload"),
        (250_000, "upload"),
    ]
    for seed, (queue_bytes, neighbour) in enumerate(lines):
        line = Link(delay_ms=10, up=Override(rate_mbps=2, queue_bytes=queue_bytes))
        links = Links("a test", line, neighbour=neighbour)
        cell = short_cell("whatsapp", "direct", "open", duration_s=8)
        cells.append(replace(cell, links=links, seed=seed))
    worst_s = []
    for result in conducted(kernel, run, *cells):
        frames = read_frames(result.folder / "frames.csv")
        worst_s.append(max(delay_s for _, delay_s in delays_s(frames["up"])))
        assert max(delay_s for _, delay_s in delays_s(frames["down"])) < 0.05
    alone_s, shallow_s, deep_s = worst_s
    assert alone_s < 0.03
    # What the queue holds takes this long at its rate.
    assert 0.03 < shallow_s < 0.01 + 15_000 * 8 / 2e6 + 0.01
    assert 0.5 < deep_s < 0.01 + 250_000 * 8 / 2e6 + 0.01
