"""Calls are sorted by what was asked: the best first, or by the limits of a sweep."""

from __future__ import annotations

from testbed.analysis.order import best_first
from testbed.call.quality.verdict import Verdict
from testbed.record.cell_record import CellRecord
from tests.records import record, recorded


def order_of(*records: CellRecord) -> list[tuple[str, str]]:
    """Transports and censors in their order."""
    return [(key.transport, key.censor) for key in best_first(recorded(one) for one in records)]


def test_the_best_transport_comes_first_under_each_censor_whatever_the_file_says() -> None:
    found = order_of(
        record("direct", "a", r=90.0),
        record("direct", "b", verdict=Verdict.UNUSABLE, r=20.0),
        record("obfs4", "a", r=80.0),
        record("obfs4", "b", r=80.0),
        record("tuic", "b", r=85.0),
    )
    assert found == [
        ("direct", "a"), ("obfs4", "a"),
        ("tuic", "b"), ("obfs4", "b"), ("direct", "b"),
    ]  # fmt: skip


def test_more_usable_calls_count_before_a_higher_rating() -> None:
    found = order_of(
        record("fast", "a", seed=1, r=95.0),
        record("fast", "a", seed=2, r=95.0, verdict=Verdict.POOR),
        record("slow", "a", seed=1, r=65.0, verdict=Verdict.USABLE),
        record("slow", "a", seed=2, r=65.0, verdict=Verdict.USABLE),
    )
    assert found == [("slow", "a"), ("fast", "a")]


def test_a_sweep_is_sorted_by_limit_and_its_values_from_the_mildest() -> None:
    def at(transport: str, loss: float, verdict: Verdict) -> CellRecord:
        return record(transport, f"line loss={loss:g}", verdict=verdict)

    good, bad = Verdict.GOOD, Verdict.UNUSABLE
    found = order_of(
        at("direct", 0.5, bad), at("direct", 0.05, bad), at("direct", 0, good),
        at("fec", 0.5, bad), at("fec", 0.05, good), at("fec", 0, good),
    )  # fmt: skip
    assert [(transport, censor.rpartition("=")[2]) for transport, censor in found] == [
        ("fec", "0"), ("fec", "0.05"), ("fec", "0.5"),
        ("direct", "0"), ("direct", "0.05"), ("direct", "0.5"),
    ]  # fmt: skip
