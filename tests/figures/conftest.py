"""Calls as figures show them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from testbed.call.quality.verdict import Verdict
from testbed.record.cell_record import CellRecord
from testbed.record.manifest import ScenarioTitle
from testbed.show.drawing import files
from tests.records import RUSSIA, manifest, record

SCENARIO = ScenarioTitle(
    "ru-calls-2025-08",
    "Calls from Russia, August 2025",
    "Under the restriction, which transport keeps a call usable?",
)
MANIFEST = replace(manifest(), scenario=SCENARIO)
LOW_DPI = 50
"""The resolution of figures in tests, except for the slow ones, which draw as users do."""


@pytest.fixture(autouse=True)
def low_resolution(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw with few pixels, which takes a fraction of the time."""
    if request.node.get_closest_marker("slow") is None:
        monkeypatch.setattr(files, "PNG_DPI", LOW_DPI)


def call(
    messenger: str, transport: str, censor: str, seed: int, verdict: Verdict, delivered: int = 30
) -> CellRecord:
    return record(transport, censor, seed, verdict, messenger=messenger, delivered=delivered)


def demo() -> list[CellRecord]:
    """The founding case: three messengers, two censors, two transports."""
    ways = (("direct", "open"), ("direct", RUSSIA), ("obfs4", RUSSIA))
    bad = {"Telegram": Verdict.NO_CALL, "WhatsApp": Verdict.UNUSABLE, "MAX": Verdict.GOOD}
    return [
        call(m, t, c, seed, bad[m] if (t, c) == ("direct", RUSSIA) else Verdict.GOOD)
        for m in bad
        for t, c in ways
        for seed in range(1, 6)
    ]


def sweep() -> list[CellRecord]:
    """Twelve strengths, with each verdict among the calls."""
    verdicts = sorted(Verdict, reverse=True)
    return [
        call(m, "direct", f"{RUSSIA} drop={drop:g}", seed, verdicts[(i + seed) % 5], 30 - i)
        for m in ("Telegram", "WhatsApp")
        for i, drop in enumerate((0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1))
        for seed in range(5)
    ]


def awkward() -> list[CellRecord]:
    """Long names, dollars and other scripts."""
    long = "webtunnel {sni = $front$.example, path = /a-long-path-to-nowhere, pool = 4}"
    return [
        call("Телеграм", transport, censor, seed, Verdict.POOR, 1)
        for censor in ("cn-fully-encrypted-$1", "ir-2022-mobile-shutdown", "open")
        for transport in ("direct", long)
        for seed in (1, 7)
    ]
