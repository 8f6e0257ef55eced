"""A run as tables: one row a cell, a second of a direction, an event; judges nothing.

The run's folder stays the only truth: the Parquet files are made from it, and never read back.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from testbed.call.quality.verdict import Verdict
from testbed.experiment.cell import TRAFFIC
from testbed.record.results import CellResult, Run

_CELL_KEY = [
    ("cell", pa.string()),
    ("messenger", pa.string()),
    ("transport", pa.string()),
    ("censor", pa.string()),
    ("links", pa.string()),
    ("topology", pa.string()),
    ("seed", pa.int64()),
]
_DIRECTION = [
    ("verdict", pa.string()),
    ("concealed_share", pa.float64()),
    ("longest_gap_s", pa.float64()),
    ("mouth_to_ear_median_s", pa.float64()),
    ("mouth_to_ear_p95_s", pa.float64()),
    ("r_fullband_100", pa.float64()),
]
_WIRE = ("wire_packets_up", "wire_bytes_up", "wire_packets_down", "wire_bytes_down")
_TRAFFIC = ("done", "took_s", "goodput_bps")
CELLS = pa.schema(
    [
        *_CELL_KEY,
        ("messenger_title", pa.string()),
        ("duration_s", pa.float64()),
        ("verdict", pa.string()),
        ("usable", pa.bool_()),
        ("reasons", pa.list_(pa.string())),
        ("symptoms", pa.list_(pa.string())),
        ("set_up_outcome", pa.string()),
        ("set_up_s", pa.float64()),
        ("drop_at_s", pa.float64()),
        ("worse_direction", pa.string()),
        *((f"{side}_{name}", kind) for side in ("up", "down") for name, kind in _DIRECTION),
        ("caller_response_s", pa.float64()),
        ("callee_response_s", pa.float64()),
        ("chat_sent", pa.int64()),
        ("chat_delivered", pa.int64()),
        ("chat_median_s", pa.float64()),
        ("chat_longest_s", pa.float64()),
        *(
            (f"{kind.replace(' ', '_')}_{what}", pa.bool_() if what == "done" else pa.float64())
            for kind in TRAFFIC
            for what in _TRAFFIC
        ),
        ("transport_connect_s", pa.float64()),
        *((name, pa.int64()) for name in _WIRE),
        ("middlebox_asked_packets", pa.int64()),
        ("middlebox_dropped_packets", pa.int64()),
        ("virtual_s", pa.float64()),
    ]
)
"""One row a cell. Names and units are those of `cell.json`; what a cell does not have is null.

What a cell cost is not in it: it differs between equal runs (`wall.json` has it).
"""
STEPS = pa.schema(
    [
        *_CELL_KEY,
        ("direction", pa.string()),
        ("from_s", pa.float64()),
        ("concealed_share", pa.float64()),
        ("r_fullband_100", pa.float64()),
    ]
)
"""One row a second of each direction, from `from_s` on, since dialling; none in old runs."""
EVENTS = pa.schema(
    [*_CELL_KEY, ("at_s", pa.float64()), ("flow", pa.string()), ("event", pa.string())]
)
"""One row an event of the middlebox, in seconds since dialling."""


@dataclass(frozen=True)
class RunTables:
    """A run's tables, in the scenario's order. The columns are those of the schemas here."""

    cells: pd.DataFrame
    steps: pd.DataFrame
    events: pd.DataFrame


def load(folder: str | Path) -> RunTables:
    """Read a run's folder into DataFrames. ResultsError: it is no run's, or damaged."""
    return RunTables(*(table.to_pandas() for table in _tables(Run(Path(folder))).values()))


def export(run: Run, folder: Path) -> list[Path]:
    """Write a run's tables to `folder` as Parquet, each whole or not at all, and give the paths.

    Runs with the same cells give the same bytes. ResultsError: it is no run's folder, or damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, table in _tables(run).items():
        path = folder / f"{name}.parquet"
        temporary = path.with_name(path.name + ".tmp")
        pq.write_table(table, temporary, compression="zstd")
        os.replace(temporary, path)  # noqa: PTH105 - the atomic one
        paths.append(path)
    return paths


def _tables(run: Run) -> dict[str, pa.Table]:
    results = run.results()
    return {
        "cells": pa.Table.from_pylist([_cell(r) for r in results], schema=CELLS),
        "steps": pa.Table.from_pylist([s for r in results for s in _steps(r)], schema=STEPS),
        "events": pa.Table.from_pylist([e for r in results for e in _events(r)], schema=EVENTS),
    }


def _key(result: CellResult) -> dict[str, Any]:
    content = result.content
    return {
        "cell": result.folder.name,
        "messenger": content["messenger"]["name"],
        **{name: content[name] for name in ("transport", "censor", "seed")},
        **{name: content.get(name) for name in ("links", "topology")},
    }


def _cell(result: CellResult) -> dict[str, Any]:
    content, quality, record = result.content, result.content["quality"], result.content["record"]
    set_up, drop = quality["set_up"], quality["drop"]
    rules = record["middlebox"]["rules"].values()
    return {
        **_key(result),
        "messenger_title": content["messenger"]["title"],
        "duration_s": content["duration_s"],
        "verdict": quality["verdict"],
        "usable": result.verdict >= Verdict.USABLE,
        "reasons": quality["reasons"],
        "symptoms": _symptoms(quality),
        "set_up_outcome": set_up["outcome"],
        "set_up_s": set_up["elapsed_s"] if quality["up"] is not None else None,
        "drop_at_s": drop["at_s"] if drop else None,
        "worse_direction": next(iter(result.directions), None),
        **{
            f"{side}_{name}": (quality[side] or {}).get(name)
            for side in ("up", "down")
            for name, _ in _DIRECTION
        },
        **{f"{end}_response_s": wait for end, wait in _responses_s(content).items()},
        **{f"chat_{name}": content["chat"][name] for name in ("sent", "delivered")},
        **{f"chat_{name}_s": content["chat"][f"{name}_s"] for name in ("median", "longest")},
        **{
            f"{kind.replace(' ', '_')}_{what}": one[what]
            for kind, one in content.get("traffic", {}).items()
            for what in _TRAFFIC
        },
        "transport_connect_s": record["transport_connect_s"],
        **{name: record["transport"]["call"].get(name) for name in _WIRE},
        "middlebox_asked_packets": record["middlebox"]["packets_asked"],
        "middlebox_dropped_packets": sum(rule["dropped"] for rule in rules),
        "virtual_s": record["virtual_s"],
    }


def _responses_s(content: Mapping[str, Any]) -> Mapping[str, float | None]:
    """Give how long each end waits for answers; a record before schema 3 does not say."""
    waits: Mapping[str, float | None] = content.get("conversation", {}).get("response_s", {})
    return waits


def _symptoms(quality: Mapping[str, Any]) -> list[str]:
    """Give the names of a call's symptoms; a record of schema 1 has none."""
    return list(quality.get("symptoms", ()))


def _steps(result: CellResult) -> Iterator[dict[str, Any]]:
    for side in ("up", "down"):
        for step in (result.content["quality"][side] or {}).get("steps", ()):
            yield {**_key(result), "direction": side, **step}


def _events(result: CellResult) -> Iterator[dict[str, Any]]:
    for at_s, flow, event in result.content["record"]["middlebox"]["events"]:
        yield {**_key(result), "at_s": at_s, "flow": flow, "event": event}
