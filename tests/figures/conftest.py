from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from testbed.record.results import CellResult, Run, Wall

MANIFEST = {
    "schema": 1,
    "kernel": {"kind": "virtual"},
    "scenario": {
        "name": "ru-calls-2025-08",
        "title": "Calls from Russia, August 2025",
        "question": "Under the restriction, which transport keeps a call usable?",
    },
}
RUSSIA = "ru-calls-2025-08"


def content(
    messenger: str, transport: str, censor: str, seed: int, verdict: str, delivered: int = 30
) -> dict[str, Any]:
    """What a figure may read of cell.json."""
    return {
        "schema": 1,
        "messenger": {"name": messenger.lower(), "title": f"{messenger} (model)"},
        "transport": transport,
        "censor": censor,
        "seed": seed,
        "duration_s": 30.0,
        "quality": {"verdict": verdict, "up": None, "down": None},
        "chat": {"sent": 30, "delivered": delivered, "median_s": 0.04, "longest_s": 0.05},
    }


def name_of(cell: dict[str, Any]) -> str:
    parts = (cell["messenger"]["name"], cell["transport"], cell["censor"], f"seed {cell['seed']}")
    return "--".join(re.sub(r"[^A-Za-z0-9.]+", "-", part).strip("-") for part in parts)


def result(
    messenger: str, transport: str, censor: str, seed: int, verdict: str, delivered: int = 30
) -> CellResult:
    cell = content(messenger, transport, censor, seed, verdict, delivered)
    return CellResult(Path("cells") / name_of(cell), cell, Wall(1.0, 30.0))


def demo() -> list[dict[str, Any]]:
    """The founding case: three messengers, two censors, two transports."""
    ways = (("direct", "open"), ("direct", RUSSIA), ("obfs4", RUSSIA))
    bad = {"Telegram": "no call", "WhatsApp": "unusable", "MAX": "good"}
    return [
        content(m, t, c, seed, bad[m] if (t, c) == ("direct", RUSSIA) else "good")
        for m in bad
        for t, c in ways
        for seed in range(1, 6)
    ]


def sweep() -> list[dict[str, Any]]:
    """Twelve strengths, with each verdict among the calls."""
    verdicts = ("good", "usable", "poor", "unusable", "no call")
    return [
        content(m, "direct", f"{RUSSIA} drop={drop:g}", seed, verdicts[(i + seed) % 5], 30 - i)
        for m in ("Telegram", "WhatsApp")
        for i, drop in enumerate((0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1))
        for seed in range(5)
    ]


def awkward() -> list[dict[str, Any]]:
    """Long names, dollars and other scripts."""
    long = "webtunnel {sni = $front$.example, path = /a-long-path-to-nowhere, pool = 4}"
    return [
        content("Телеграм", transport, censor, seed, "poor", 1)
        for censor in ("cn-fully-encrypted-$1", "ir-2022-mobile-shutdown", "open")
        for transport in ("direct", long)
        for seed in (1, 7)
    ]


MakeRun = Callable[..., Run]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Write a run's folder as the testbed does."""

    def make(
        cells: Iterable[dict[str, Any]],
        failed: Iterable[str] = (),
        manifest: Mapping[str, Any] = MANIFEST,
    ) -> Run:
        folder = tmp_path / "run"
        (folder / "cells").mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps(manifest))
        for cell in cells:
            where = folder / "cells" / name_of(cell)
            where.mkdir()
            (where / "cell.json").write_text(json.dumps(cell))
            (where / "wall.json").write_text(json.dumps({"wall_s": 1.0, "virtual_s": 30.0}))
        for name in failed:
            (folder / "failed" / name).mkdir(parents=True)
            (folder / "failed" / name / "reason.txt").write_text("the guest died\n")
        return Run(folder)

    return make
