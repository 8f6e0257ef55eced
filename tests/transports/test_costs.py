"""What a transport costs is told beside direct calls, and from nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from testbed.costs import Cost, NothingToCompareError, costs
from testbed.results import CellResult, Wall


def result(
    folder: Path, transport: str, delays_ms: Sequence[int], wire: int, *, set_up: bool = True
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
    content = {
        "messenger": {"title": "M"},
        "transport": transport,
        "censor": "open",
        "quality": {"up": {} if set_up else None},
        "record": {"transport_connect_s": 0.1, "transport": {"set_up": {}, "call": counts}},
    }
    return CellResult(folder, content, Wall(1.0, 2.0))


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
    assert found[0] == Cost("M", "direct", "open", 0.1, 0, 0, 1, 1)
    assert found[1].added_delay_median_s == pytest.approx(0.002)
    assert found[1].added_delay_95_s == pytest.approx(0.042)
    assert found[1].bytes_factor == found[1].packets_factor == 1.5


def test_without_direct_calls_there_is_nothing_to_compare(tmp_path: Path) -> None:
    with pytest.raises(NothingToCompareError, match="again with --transport direct"):
        costs([result(tmp_path, "tunnel", [30] * 20, 1000)])
