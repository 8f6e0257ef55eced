"""Export a run as tables: one row per cell, per second of a direction, and per middlebox event.

A column consists of a name, an Arrow type, and a function that reads its value from a record. The
run's folder remains the only source of truth: Parquet files are written from it, and never read
back.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from testbed.call.quality.measures import Step
from testbed.call.quality.verdict import DirectionQuality, Verdict
from testbed.experiment.cell import TRAFFIC, OtherTraffic
from testbed.record.cell_record import DIRECTIONS, CellRecord, TrafficSummary
from testbed.record.results import RecordedCell, Run

Value = str | float | bool | Sequence[str] | None
"""What a field of a table can hold."""
Row = TypeVar("Row")
Part = TypeVar("Part")


@dataclass(frozen=True)
class Column(Generic[Row]):
    """A column of a table."""

    name: str
    type: pa.DataType
    read: Callable[[Row], Value]


class _StepRow(NamedTuple):
    cell: RecordedCell
    direction: str
    step: Step


class _EventRow(NamedTuple):
    cell: RecordedCell
    at_s: float
    flow: str
    event: str


def _key(of: Callable[[Row], RecordedCell]) -> list[Column[Row]]:
    """Return the key columns, by which rows of different tables can be joined."""
    return [
        Column("cell", pa.string(), lambda row: of(row).id),
        Column("messenger", pa.string(), lambda row: of(row).record.messenger),
        Column("transport", pa.string(), lambda row: of(row).record.transport),
        Column("censor", pa.string(), lambda row: of(row).record.censor),
        Column("links", pa.string(), lambda row: of(row).record.links or None),
        Column("topology", pa.string(), lambda row: of(row).record.topology or None),
        Column("seed", pa.int64(), lambda row: of(row).record.seed),
    ]


def _record(
    name: str, kind: pa.DataType, read: Callable[[CellRecord], Value]
) -> Column[RecordedCell]:
    return Column(name, kind, lambda cell: read(cell.record))


def _of_part(
    prefix: str,
    part: Callable[[CellRecord], Part | None],
    columns: Iterable[tuple[str, pa.DataType, Callable[[Part], Value]]],
) -> list[Column[RecordedCell]]:
    """Return the columns of a part of the record, which are null if a cell has no such part."""

    def column(name: str, kind: pa.DataType, read: Callable[[Part], Value]) -> Column[RecordedCell]:
        def found(record: CellRecord) -> Value:
            one = part(record)
            return None if one is None else read(one)

        return _record(f"{prefix}_{name}", kind, found)

    return [column(*each) for each in columns]


def _direction(direction: str) -> list[Column[RecordedCell]]:
    number = pa.float64()
    columns: list[tuple[str, pa.DataType, Callable[[DirectionQuality], Value]]] = [
        ("verdict", pa.string(), lambda q: q.verdict.label),
        ("concealed_share", number, lambda q: q.concealed_share),
        ("longest_gap_s", number, lambda q: q.longest_gap_s),
        ("mouth_to_ear_median_s", number, lambda q: q.mouth_to_ear_median_s),
        ("mouth_to_ear_p95_s", number, lambda q: q.mouth_to_ear_p95_s),
        ("r_fullband_100", number, lambda q: q.r_fullband_100),
    ]
    return _of_part(direction, lambda record: record.directions.get(direction), columns)


def _traffic(kind: OtherTraffic) -> list[Column[RecordedCell]]:
    columns: list[tuple[str, pa.DataType, Callable[[TrafficSummary], Value]]] = [
        ("done", pa.bool_(), lambda one: one.done),
        ("took_s", pa.float64(), lambda one: one.took_s),
        ("goodput_bps", pa.float64(), lambda one: one.goodput_bps),
    ]
    return _of_part(kind.replace(" ", "_"), lambda record: record.traffic.get(kind), columns)


def _wire(name: str) -> Column[RecordedCell]:
    return _record(name, pa.int64(), lambda r: r.observation.transport.call.get(name))


CELLS: Sequence[Column[RecordedCell]] = [
    *_key(lambda cell: cell),
    _record("messenger_title", pa.string(), lambda r: r.messenger_title),
    _record("duration_s", pa.float64(), lambda r: r.duration_s),
    _record("verdict", pa.string(), lambda r: r.verdict.label),
    _record("usable", pa.bool_(), lambda r: r.verdict >= Verdict.USABLE),
    _record("reasons", pa.list_(pa.string()), lambda r: r.quality.reasons),
    _record("symptoms", pa.list_(pa.string()), lambda r: r.quality.symptoms),
    _record("set_up_outcome", pa.string(), lambda r: r.quality.set_up.outcome.value),
    _record("set_up_s", pa.float64(), lambda r: r.set_up_s),
    _record("drop_at_s", pa.float64(), lambda r: r.quality.drop.at_s if r.quality.drop else None),
    _record("worse_direction", pa.string(), lambda r: r.worse_direction),
    *(column for direction in DIRECTIONS for column in _direction(direction)),
    _record("caller_response_s", pa.float64(), lambda r: r.conversation.response_s.get("caller")),
    _record("callee_response_s", pa.float64(), lambda r: r.conversation.response_s.get("callee")),
    _record("chat_sent", pa.int64(), lambda r: r.chat.sent),
    _record("chat_delivered", pa.int64(), lambda r: r.chat.delivered),
    _record("chat_median_s", pa.float64(), lambda r: r.chat.median_s),
    _record("chat_longest_s", pa.float64(), lambda r: r.chat.longest_s),
    *(column for kind in TRAFFIC for column in _traffic(kind)),
    _record("transport_connect_s", pa.float64(), lambda r: r.observation.transport.connect_s),
    *map(_wire, ("wire_packets_up", "wire_bytes_up", "wire_packets_down", "wire_bytes_down")),
    _record("middlebox_asked_packets", pa.int64(), lambda r: r.observation.packets_asked),
    _record(
        "middlebox_dropped_packets",
        pa.int64(),
        lambda r: sum(rule["dropped"] for rule in r.observation.rules.values()),
    ),
    _record("virtual_s", pa.float64(), lambda r: r.observation.virtual_s),
]
"""One row per cell. Names and units are those of `cell.json`; what a cell does not have is null.

Wall-clock and CPU times are left out, because they differ between equal runs (see `wall.json`).
"""
STEPS: Sequence[Column[_StepRow]] = [
    *_key(lambda row: row.cell),
    Column("direction", pa.string(), lambda row: row.direction),
    Column("from_s", pa.float64(), lambda row: row.step.from_s),
    Column("concealed_share", pa.float64(), lambda row: row.step.concealed_share),
    Column("r_fullband_100", pa.float64(), lambda row: row.step.r_fullband_100),
]
"""One row per second of each direction; `from_s` is its beginning in seconds since dialling."""
EVENTS: Sequence[Column[_EventRow]] = [
    *_key(lambda row: row.cell),
    Column("at_s", pa.float64(), lambda row: row.at_s),
    Column("flow", pa.string(), lambda row: row.flow),
    Column("event", pa.string(), lambda row: row.event),
]
"""One row per event of the middlebox; times in seconds since dialling."""


@dataclass(frozen=True)
class RunTables:
    """A run's tables, in the scenario's order; their columns are `CELLS`, `STEPS` and `EVENTS`."""

    cells: pd.DataFrame
    steps: pd.DataFrame
    events: pd.DataFrame


def load(folder: str | Path) -> RunTables:
    """Read a run's folder into DataFrames.

    Raises:
        ResultsError: The folder does not hold a run, or is damaged.
    """
    return RunTables(*(table.to_pandas() for table in _tables(Run(Path(folder))).values()))


def export(run: Run, folder: Path) -> list[Path]:
    """Write a run's tables to `folder` as Parquet, each file atomically; return the paths.

    Runs with the same cells yield the same bytes.

    Raises:
        ResultsError: The run's folder does not hold a run, or is damaged.
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
    cells = run.cells()
    steps = [
        _StepRow(cell, direction, step)
        for cell in cells
        for direction, measures in cell.record.measures.items()
        for step in measures.steps
    ]
    events = [_EventRow(cell, *event) for cell in cells for event in cell.record.observation.events]
    return {
        "cells": _table(CELLS, cells),
        "steps": _table(STEPS, steps),
        "events": _table(EVENTS, events),
    }


def _table(columns: Iterable[Column[Row]], rows: Sequence[Row]) -> pa.Table:
    return pa.table({c.name: pa.array([c.read(row) for row in rows], c.type) for c in columns})
