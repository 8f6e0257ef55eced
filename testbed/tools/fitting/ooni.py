"""Reads OONI's measurements, as far as they have what a fit can use: events of connections.

A measurement is a JSON object; files have one a line. Events of the network stand in lists called
`network_events` within `test_keys`: connect, read and write (of UDP read_from and write_to), each
with a time, a number of bytes and a failure (ooni/spec, df-008-netevents and df-007-errors, read).
They are calls of the operating system, not packets: they show that a connection was refused, reset
or fell silent, after how many bytes, and how fast bytes came in; losses, delays and TTLs are not in
them. No experiment of OONI makes a call (ooni/probe 1645).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from testbed.tools.recognition.capture_file import CaptureError

LEGEND = """\
Events of the operating system, not packets: losses, delays and TTLs do not show. There is no
control: a server that is off, or a bad line, looks the same as a restriction."""
_MAX_BYTES = 1 << 28
_MAX_DEPTH = 8
_LARGEST = 1e12
_READS, _WRITES = ("read", "read_from"), ("write", "write_to")
_ENDS = {
    "connection_refused": "refused",
    "connection_reset": "reset",
    "generic_timeout_error": "silent",
    "host_unreachable": "unreachable",
    "network_unreachable": "unreachable",
    "eof_error": "closed",
}
"""What failures of df-007 mean; others are `failed`."""
_LEAST_RATE_S, _LEAST_RATE_READS = 0.5, 5
"""A rate is stated for as long a time, and as many reads, at least."""

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


@dataclass(frozen=True)
class ConnectionFinding:
    """What the events of one connection show. It has no address."""

    connection: str
    experiment: str
    outcome: str
    """`refused`, `reset`, `silent`, `unreachable`, `closed`, `failed`, or `went on`."""
    after_s: float
    """When it ended so, since its first event."""
    received_bytes: int
    """Before that."""
    sent_bytes: int
    received_bps: float | None
    """From the first read to the last one; None if there are few."""


@dataclass(frozen=True)
class _Event:
    at_s: float
    operation: str
    failure: str | None
    size: int


def is_measurement(path: Path) -> bool:
    """Return whether a file begins with a measurement of OONI's."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            return False
        with path.open("rb") as file:
            if file.read(1) != b"{":
                return False
            file.seek(0)
            content: Json = json.loads(file.readline())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and "test_keys" in content


def read_measurements(path: Path) -> list[ConnectionFinding]:
    """Return what the connections of a file's measurements show.

    Raises:
        CaptureError: The file has no measurement with events of connections.
    """
    found: list[ConnectionFinding] = []
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                measurement: Json = json.loads(line) if line.strip() else None
                if isinstance(measurement, dict):
                    found += _of_measurement(measurement, len(found))
    except (OSError, ValueError, RecursionError) as error:
        raise CaptureError(f"{path} cannot be read as OONI's measurements: {error}") from None
    if not found:
        raise CaptureError(f"{path} has no events of connections (network_events)")
    return found


def headline(found: Sequence[ConnectionFinding]) -> str:
    """Return the most important result as a sentence."""
    ended = [each for each in found if each.outcome not in ("went on", "closed")]
    if not ended:
        return f"None of the {len(found)} connections was cut off, as far as events show."
    outcomes = sorted({each.outcome for each in ended})
    parts = [f"{sum(e.outcome == name for e in ended)} {name}" for name in outcomes]
    return (
        f"Consistent with a restriction, or with a bad line: of {len(found)} connections "
        f"{', '.join(parts)}. No control was given."
    )


def table(found: Sequence[ConnectionFinding]) -> Table:
    """Return the table of connections."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("Connection", "Experiment", "What became of it", "after", "Received", "Sent"):
        made.add_column(column, justify="left" if column[0] in "CEW" else "right")
    made.add_column("Rate", justify="right")
    for each in found:
        rate = "-" if each.received_bps is None else f"{each.received_bps / 1e3:.0f} kbit/s"
        made.add_row(
            each.connection,
            each.experiment,
            each.outcome,
            f"{each.after_s:.2f} s",
            f"{each.received_bytes} bytes",
            f"{each.sent_bytes} bytes",
            rate,
            style="dim" if each.outcome in ("went on", "closed") else "",
        )
    return made


def _of_measurement(measurement: Mapping[str, Json], number: int) -> Iterator[ConnectionFinding]:
    name = measurement.get("test_name")
    experiment = name if isinstance(name, str) and name.isidentifier() else "unknown"
    connections: dict[tuple[str, str], list[_Event]] = {}
    protocols: dict[tuple[str, str], str] = {}
    for place, event in _events(measurement.get("test_keys"), "", _MAX_DEPTH):
        operation, at_s = event.get("operation"), _number(event.get("t"))
        if operation not in ("connect", *_READS, *_WRITES) or at_s is None:
            continue
        key = place, _name_of(event)
        failure, size = event.get("failure"), _number(event.get("num_bytes"))
        failed = failure if isinstance(failure, str) else None
        made = _Event(at_s, str(operation), failed, int(size or 0))
        connections.setdefault(key, []).append(made)
        is_udp = event.get("proto") in ("udp", "quic") or operation in ("read_from", "write_to")
        protocols.setdefault(key, "udp" if is_udp else "tcp")
    for key, events in connections.items():
        number += 1
        yield _finding(f"{protocols[key]} {number}", experiment, events)


def _events(content: Json, place: str, depth: int) -> Iterator[tuple[str, Mapping[str, Json]]]:
    """Yield all network events below some content, with the place of their list."""
    if depth == 0:
        return
    if isinstance(content, dict):
        for key, value in content.items():
            if key == "network_events" and isinstance(value, list):
                yield from ((place, each) for each in value if isinstance(each, dict))
            else:
                yield from _events(value, f"{place}/{key}", depth - 1)
    elif isinstance(content, list):
        for number, value in enumerate(content):
            yield from _events(value, f"{place}/{number}", depth - 1)


def _name_of(event: Mapping[str, Json]) -> str:
    """Return what tells connections apart: their number, or the address, which is not shown."""
    for key in ("transaction_id", "conn_id"):
        if event.get(key):
            return f"{event[key]} {event.get('address', '')}"
    return str(event.get("address", ""))


def _number(value: Json) -> float | None:
    """Return a number of a reasonable size; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < _LARGEST:
        return None
    return float(value)


def _finding(name: str, experiment: str, events: Sequence[_Event]) -> ConnectionFinding:
    ordered = sorted(events, key=lambda event: event.at_s)
    began_s = ordered[0].at_s
    outcome, end_s, received, sent = "went on", ordered[-1].at_s, 0, 0
    reads: list[_Event] = []
    for event in ordered:
        if event.failure is not None:
            outcome, end_s = _ENDS.get(event.failure, "failed"), event.at_s
            break
        if event.operation in _READS:
            received += event.size
            reads.append(event)
        elif event.operation in _WRITES:
            sent += event.size
    return ConnectionFinding(
        name, experiment, outcome, end_s - began_s, received, sent, _rate_bps(reads)
    )


def _rate_bps(reads: Sequence[_Event]) -> float | None:
    if len(reads) < _LEAST_RATE_READS or reads[-1].at_s - reads[0].at_s < _LEAST_RATE_S:
        return None
    later = sum(event.size for event in reads[1:])
    return later * 8 / (reads[-1].at_s - reads[0].at_s)
