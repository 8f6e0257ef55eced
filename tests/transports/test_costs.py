"""What a transport costs is told beside direct calls, and from nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from testbed.analysis.transport_costs import Cost, NothingToCompareError, costs, held_up
from testbed.record.observation import CallRecord, DirectionRecord, TransportRecord
from testbed.record.results import Run, Wall
from tests.records import keep_cell, record


def keep(
    run: Run,
    transport: str,
    delays_ms: Sequence[int],
    wire: int,
    *,
    set_up: bool = True,
    flows: tuple[int, int] = (0, 1),
    cpu_s: float | None = 1.5,
) -> None:
    """Keep another call through a transport, of frames that took so long."""
    counts = {f"wire_{what}_{way}": wire for what in ("bytes", "packets") for way in ("up", "down")}
    carried = TransportRecord(
        0.1, set_up={"wire_flows_up": flows[0]}, call={**counts, "wire_flows_up": flows[1]}
    )
    one = record(transport, "open", len(run.cells()), r=90.0 if set_up else None)
    one = replace(one, observation=replace(one.observation, transport=carried))
    way = direction(delays_ms)
    keep_cell(run, one, Wall(1.0, 2.0, cpu_s), CallRecord(up=way, down=way))


def test_costs_are_what_is_added_to_direct(run: Run) -> None:
    keep(run, "direct", [30] * 100, 1000)
    keep(run, "tunnel", [32] * 90 + [72] * 10, 1500)
    keep(run, "tunnel", [32] * 90 + [72] * 10, 1500)
    keep(run, "tunnel", [500] * 100, 9000, set_up=False)
    direct, tunnel = costs(run, run.cells())
    assert (direct.key.transport, tunnel.key.transport) == ("direct", "tunnel")
    assert direct == Cost(direct.key, 0.1, 0, 0, 1, 1, 0, 0, 0, 0)
    assert tunnel.added_delay_median_s == pytest.approx(0.002)
    assert tunnel.added_delay_95_s == pytest.approx(0.042)
    assert tunnel.bytes_factor == tunnel.packets_factor == 1.5


def test_a_call_of_which_nothing_was_heard_has_no_costs(run: Run) -> None:
    keep(run, "direct", [30] * 20, 1000)
    keep(run, "tunnel", [], 500)
    keep(run, "tunnel", [], 500)
    assert [cost.key.transport for cost in costs(run, run.cells())] == ["direct"]


def test_without_direct_calls_there_is_nothing_to_compare(run: Run) -> None:
    keep(run, "tunnel", [30] * 20, 1000)
    with pytest.raises(NothingToCompareError, match="again with --transport direct"):
        costs(run, run.cells())


def direction(delays_ms: Sequence[int | None]) -> DirectionRecord:
    """Make a direction of a frame every 20 ms; None: it never came."""
    sent = [k * 0.02 for k in range(len(delays_ms))]
    came = [(k, sent[k] + ms / 1e3) for k, ms in enumerate(delays_ms) if ms is not None]
    return DirectionRecord(sent, sorted(came, key=lambda arrival: arrival[1]))


def test_frames_that_waited_behind_a_lost_one_differ_from_it_and_from_lost_ones() -> None:
    calm = [30] * 20
    stream = direction([*calm, 110, 90, 70, 50, *calm])  # the first was sent again
    assert held_up(stream) == pytest.approx([0.06, 0.04, 0.02])
    datagrams = direction([*calm, None, None, 30, *calm])
    assert held_up(datagrams) == []
    late_alone = direction([*calm, 45, *calm])
    assert held_up(late_alone) == []
    overtaken = direction([*calm, 110, 30, 30, *calm])  # nothing waited
    assert held_up(overtaken) == []
    assert held_up(direction([])) == []


def test_flows_opened_during_the_call_are_reconnections_but_the_first(run: Run) -> None:
    keep(run, "direct", [30] * 30, 1, flows=(0, 1), cpu_s=1.0)
    keep(run, "steady", [30] * 30, 1, flows=(2, 0), cpu_s=3.5)
    keep(run, "restless", [30] * 30, 1, flows=(2, 3), cpu_s=None)
    found = {cost.key.transport: cost for cost in costs(run, run.cells())}
    assert {name: cost.reconnections for name, cost in found.items()} == {
        "direct": 0, "steady": 0, "restless": 3,
    }  # fmt: skip
    assert {name: cost.added_cpu_s for name, cost in found.items()} == {
        "direct": 0, "steady": 2.5, "restless": None,
    }  # fmt: skip
