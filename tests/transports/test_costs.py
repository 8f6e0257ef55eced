"""What a transport costs is told beside direct calls, and from nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from testbed.analysis.costs import Cost, NothingToCompareError, costs, held_up
from testbed.record.observation import DirectionRecord
from testbed.record.results import CellResult, Wall


def result(
    folder: Path,
    transport: str,
    delays_ms: Sequence[int],
    wire: int,
    *,
    set_up: bool = True,
    flows: tuple[int, int] = (0, 1),
    cpu_s: float | None = 1.5,
) -> CellResult:
    folder = folder / f"{transport}-{len(list(folder.iterdir()))}"
    folder.mkdir()
    lines = [
        f"{way},{k},{k * 20_000_000},{k * 20_000_000 + delay * 1_000_000}"
        for way in ("up", "down")
        for k, delay in enumerate(delays_ms)
    ]
    header = "direction,index,sent_ns,received_ns"
    (folder / "frames.csv").write_text("\n".join([header, *lines]) + "\n")
    counts = {f"wire_{what}_{way}": wire for what in ("bytes", "packets") for way in ("up", "down")}
    set_up_wire, counts["wire_flows_up"] = {"wire_flows_up": flows[0]}, flows[1]
    content = {
        "messenger": {"title": "M"},
        "transport": transport,
        "censor": "open",
        "quality": {"up": {} if set_up else None},
        "record": {
            "transport_connect_s": 0.1,
            "transport": {"set_up": set_up_wire, "call": counts},
        },
    }
    return CellResult(folder, content, Wall(1.0, 2.0, cpu_s))


def test_costs_are_what_is_added_to_direct(tmp_path: Path) -> None:
    found = costs(
        [
            result(tmp_path, "direct", [30] * 100, 1000),
            result(tmp_path, "tunnel", [32] * 90 + [72] * 10, 1500),
            result(tmp_path, "tunnel", [32] * 90 + [72] * 10, 1500),
            result(tmp_path, "tunnel", [500] * 100, 9000, set_up=False),
        ]
    )
    assert [cost.transport for cost in found] == ["direct", "tunnel"]
    assert found[0] == Cost("M", "direct", "open", 0.1, 0, 0, 1, 1, 0, 0, 0, 0)
    assert found[1].added_delay_median_s == pytest.approx(0.002)
    assert found[1].added_delay_95_s == pytest.approx(0.042)
    assert found[1].bytes_factor == found[1].packets_factor == 1.5


def test_a_call_of_which_nothing_was_heard_has_no_costs(tmp_path: Path) -> None:
    open_ones = [result(tmp_path, "direct", [30] * 20, 1000)]
    silent = [result(tmp_path, "tunnel", [], 500), result(tmp_path, "tunnel", [], 500)]
    assert [cost.transport for cost in costs(open_ones + silent)] == ["direct"]


def test_without_direct_calls_there_is_nothing_to_compare(tmp_path: Path) -> None:
    with pytest.raises(NothingToCompareError, match="again with --transport direct"):
        costs([result(tmp_path, "tunnel", [30] * 20, 1000)])


def direction(delays_ms: Sequence[int | None]) -> DirectionRecord:
    """Make a direction of a frame every 20 ms; None: it never came."""
    sent = [k * 0.02 for k in range(len(delays_ms))]
    came = [(k, sent[k] + ms / 1e3) for k, ms in enumerate(delays_ms) if ms is not None]
    return DirectionRecord(sent, sorted(came, key=lambda arrival: arrival[1]))


def test_frames_that_waited_behind_a_lost_one_are_told_from_it_and_from_lost_ones() -> None:
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


def test_flows_opened_during_the_call_are_reconnections_but_the_first(tmp_path: Path) -> None:
    found = costs(
        [
            result(tmp_path, "direct", [30] * 30, 1, flows=(0, 1), cpu_s=1.0),
            result(tmp_path, "steady", [30] * 30, 1, flows=(2, 0), cpu_s=3.5),
            result(tmp_path, "restless", [30] * 30, 1, flows=(2, 3), cpu_s=None),
        ]
    )
    assert [cost.reconnections for cost in found] == [0, 0, 3]
    assert [cost.added_cpu_s for cost in found] == [0, 2.5, None]
