"""Reads what a browser counted during a call: dumps of webrtc-internals and of rtcstats.

webrtc-internals is Chromium's page; its dump is one JSON object with the values of each counter as
a list, a second apart (here for versions since M117, whose lists have times). rtcstats' dumps are
JSON lines of events, of which `getStats` has reports as differences to the one before, with names
and types replaced by numbers (rtcstats/rtcstats, docs/file-format.md, version 3, read). Both have
the counters of W3C's webrtc-stats: of packets that came in, and of what the other end reports of
packets that went out.

Counters tell how many packets were lost in each interval, not which, so patterns shorter than an
interval do not show.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table
from scipy.special import xlogy

from testbed.analysis.statistics import Estimate, share
from testbed.tools.fitting.columns import Floats
from testbed.tools.recognition.capture_file import CaptureError

LEGEND = """\
Up is what this browser sent, as the other end reported it. Intervals are 95 %. Counters do not show
which packets were lost, and there is no control: a bad line looks the same as a restriction."""
_MAX_BYTES = 1 << 30
_TYPES = {1: "inbound-rtp", 3: "remote-inbound-rtp", 6: "candidate-pair"}
_NAMES = {
    "10": "ssrc",
    "11": "kind",
    "14": "packetsReceived",
    "15": "packetsLost",
    "16": "jitter",
    "41": "bytesReceived",
    "75": "roundTripTime",
    "77": "fractionLost",
    "t": "timestamp",
}
"""rtcstats' numbers for the types and counters that are used here (compression.js, read)."""
_HEADER = "RTCStatsDump"
_LEAST_PACKETS = 20
_LEAST_GAIN = 12.0
_LEAST_SILENCE_S = 3.0

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


@dataclass(frozen=True)
class CounterFinding:
    """What the counters of one stream show."""

    stream: str
    direction: str
    packets: int
    loss: Estimate | None
    """None if no packet was counted."""
    begins_after_s: float | None
    """When losses became more frequent, since the stream's first report; None if they did not."""
    loss_since: Estimate | None
    """What was lost since then."""
    silent_after_s: float | None
    """When nothing came any more; None if that did not happen."""
    jitter_ms: float | None
    round_trip_ms: float | None


@dataclass(frozen=True)
class _Series:
    """The reports of one stream."""

    name: str
    kind: str
    values: Mapping[str, Floats]
    """By counter: its values; `timestamp` in milliseconds."""


def is_dump(path: Path) -> bool:
    """Return whether a file begins as a dump does."""
    try:
        with path.open("rb") as file:
            head = file.read(64).lstrip()
    except OSError:
        return False
    return head.startswith((b"{", b"[", _HEADER.encode()))


def read_dump(path: Path) -> list[CounterFinding]:
    """Return what the counters of a dump show.

    Raises:
        CaptureError: The file is no dump, or has no counters of a call.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise CaptureError(f"{path} is larger than a dump can be")
        text = path.read_text(encoding="utf-8")
        is_lines = text.startswith((_HEADER, "["))
        series = list(_rtcstats(text) if is_lines else _internals(text))
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise CaptureError(f"{path} cannot be read as a WebRTC dump: {error}") from None
    found = [each for one in series if (each := _finding(one)) is not None]
    if not found:
        raise CaptureError(f"{path} has no counters of a call's packets")
    return found


def headline(found: Sequence[CounterFinding]) -> str:
    """Return the most important result as a sentence."""
    known = [each for each in found if each.loss is not None]
    if not known:
        return "No packets were counted."
    worst = max(known, key=lambda each: each.loss.value if each.loss else 0.0)
    assert worst.loss is not None
    return (
        f"Most was lost of {worst.stream} {worst.direction}: {worst.loss.value:.1%} "
        f"({worst.loss.low:.1%} to {worst.loss.high:.1%}) of {worst.packets} packets."
    )


def table(found: Sequence[CounterFinding]) -> Table:
    """Return the table of what counters show."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("Stream", "Direction", "Packets", "Lost", "begins", "silent", "Jitter", "RTT"):
        made.add_column(column, justify="left" if column == "Stream" else "right")
    for each in found:
        loss = each.loss
        lost = "-" if loss is None else f"{loss.value:.1%} ({loss.low:.1%} to {loss.high:.1%})"
        made.add_row(
            each.stream,
            each.direction,
            str(each.packets),
            lost,
            _seconds(each.begins_after_s),
            _seconds(each.silent_after_s),
            _milliseconds(each.jitter_ms),
            _milliseconds(each.round_trip_ms),
        )
    return made


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"


def _internals(text: str) -> Iterator[_Series]:
    """Yield the series of a webrtc-internals dump."""
    content: Json = json.loads(text)
    connections = content.get("PeerConnections") if isinstance(content, dict) else None
    for connection in connections.values() if isinstance(connections, dict) else ():
        stats = connection.get("stats") if isinstance(connection, dict) else None
        if isinstance(stats, dict):
            yield from _of_connection(stats)


def _of_connection(stats: Mapping[str, Json]) -> Iterator[_Series]:
    columns: dict[str, dict[str, Floats]] = {}
    kinds: dict[str, str] = {}
    for name, entry in stats.items():
        report, _, counter = name.rpartition("-")
        if not isinstance(entry, dict) or counter not in _NAMES.values():
            continue
        listed = entry.get("values")
        parsed: Json = json.loads(listed) if isinstance(listed, str) else listed
        kind = entry.get("statsType")
        if isinstance(parsed, list) and isinstance(kind, str):
            columns.setdefault(report, {})[counter] = _numbers(parsed)
            kinds[report] = kind
    for number, (report, values) in enumerate(columns.items(), 1):
        if "timestamp" in values:
            yield _Series(f"stream {number}", kinds[report], values)


def _numbers(values: Sequence[Json]) -> Floats:
    return np.array([float(each) if isinstance(each, (int, float)) else np.nan for each in values])


def _rtcstats(text: str) -> Iterator[_Series]:
    """Yield the series of an rtcstats dump."""
    last: dict[str, dict[str, dict[str, Json]]] = {}
    rows: dict[tuple[str, str], list[dict[str, Json]]] = {}
    for line in text.splitlines():
        event: Json = json.loads(line) if line.startswith("[") else None
        if not isinstance(event, list) or len(event) < 3:
            continue
        if event[0] not in ("getStats", "getstats", "g", 1) or not isinstance(event[2], dict):
            continue
        connection = str(event[1])
        reports = _added(last.get(connection, {}), event[2])
        last[connection] = reports
        for name, report in reports.items():
            rows.setdefault((connection, name), []).append(report)
    for number, reports_of in enumerate(rows.values(), 1):
        kind = reports_of[0].get("type")
        values = {
            name: _numbers([report.get(name) for report in reports_of])
            for name in _NAMES.values()
            if any(name in report for report in reports_of)
        }
        if isinstance(kind, str) and "timestamp" in values:
            yield _Series(f"stream {number}", kind, values)


def _added(
    before: Mapping[str, dict[str, Json]], delta: Mapping[str, Json]
) -> dict[str, dict[str, Json]]:
    """Return reports, given those before and what differs since then."""
    common = delta.get("t", delta.get("timestamp"))
    found = {name: dict(report) for name, report in before.items() if name not in delta}
    for name, changed in delta.items():
        if isinstance(changed, dict):
            report = dict(before.get(name, {}))
            report.update(_renamed(changed))
            found[name] = report
    for name, report in found.items():
        own = delta.get(name)
        has_own = isinstance(own, dict) and ({"t", "timestamp"} & set(own))
        if isinstance(common, (int, float)) and not has_own:
            report["timestamp"] = common
    return found


def _renamed(report: Mapping[str, Json]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for name, given in report.items():
        value = given
        if name == "type" and isinstance(value, int):
            value = _TYPES.get(value, str(value))
        found[_NAMES.get(name, name)] = value
    return found


def _finding(series: _Series) -> CounterFinding | None:
    if series.kind not in ("inbound-rtp", "remote-inbound-rtp"):
        return None
    lost = series.values.get("packetsLost")
    received = series.values.get("packetsReceived")
    at_s = series.values["timestamp"] / 1000
    direction = "down" if series.kind == "inbound-rtp" else "up"
    round_trip = _last_median(series.values.get("roundTripTime"))
    jitter = _last_median(series.values.get("jitter"))
    if lost is None:
        return None
    if received is None:  # what the other end reports: only shares, unless it counts
        return _of_reports(series, lost, direction, jitter, round_trip)
    count = min(len(lost), len(received), len(at_s))
    steps_lost, steps_received = (_steps(each[:count]) for each in (lost, received))
    total = int(steps_lost.sum() + steps_received.sum())
    if total < _LEAST_PACKETS:
        return None
    loss = share(int(min(steps_lost.sum(), total)), total)
    at_s = at_s[:count] - at_s[0]
    begins_s = _onset_s(steps_lost, steps_received, at_s[1:])
    return CounterFinding(
        series.name,
        direction,
        total,
        loss,
        begins_s,
        _loss_since(steps_lost, steps_received, at_s[1:], begins_s),
        _silent_s(steps_received, at_s),
        jitter,
        round_trip,
    )


def _of_reports(
    series: _Series,
    lost: Floats,
    direction: str,
    jitter: float | None,
    round_trip: float | None,
) -> CounterFinding | None:
    """Return what the other end reported: how many packets it missed, and the share of late."""
    fractions = series.values.get("fractionLost")
    count = int(_steps(lost).sum())
    if fractions is None or not np.isfinite(fractions).any():
        return None
    fraction = float(np.nanmean(fractions))
    packets = round(count / fraction) if fraction > 0 else 0
    loss = share(min(count, packets), packets) if packets >= _LEAST_PACKETS else None
    return CounterFinding(
        series.name, direction, packets, loss, None, None, None, jitter, round_trip
    )


def _steps(values: Floats) -> Floats:
    """Return by how much a counter grew between reports; it may shrink when late packets come."""
    known = values[np.isfinite(values)]
    steps: Floats = np.maximum(np.diff(known), 0.0)
    return steps


def _onset_s(lost: Floats, received: Floats, at_s: Floats) -> float | None:
    """Return when losses become more frequent; None if they do not."""
    n = min(len(lost), len(received), len(at_s))
    if n < 4:
        return None
    hits, all_ = np.cumsum(lost[:n]), np.cumsum(lost[:n] + received[:n])
    before, after = (hits[:-1], all_[:-1]), (hits[-1] - hits[:-1], all_[-1] - all_[:-1])
    with np.errstate(divide="ignore", invalid="ignore"):
        split = _log_likelihood(*before) + _log_likelihood(*after)
        gain = split - _log_likelihood(hits[-1:], all_[-1:])
        rises = after[0] / after[1] > before[0] / before[1]
    gain = np.where(np.isfinite(gain) & rises, gain, 0.0)
    best = int(gain.argmax())
    return float(at_s[best]) if gain[best] >= _LEAST_GAIN else None


def _loss_since(
    lost: Floats, received: Floats, at_s: Floats, begins_s: float | None
) -> Estimate | None:
    """Return what was lost after a moment."""
    if begins_s is None:
        return None
    n = min(len(lost), len(received), len(at_s))
    since = at_s[:n] > begins_s
    hits, got = int(lost[:n][since].sum()), int(received[:n][since].sum())
    return share(hits, hits + got) if hits + got else None


def _log_likelihood(hits: Floats, n: Floats) -> Floats:
    found: Floats = xlogy(hits, hits / n) + xlogy(n - hits, 1 - hits / n)
    return found


def _silent_s(received: Floats, at_s: Floats) -> float | None:
    """Return when the last packet came, if the reports went on for a while."""
    coming = np.flatnonzero(received > 0)
    if not len(coming):
        return None
    last = int(coming[-1]) + 1
    if last >= len(at_s) or at_s[-1] - at_s[last] < _LEAST_SILENCE_S:
        return None
    return float(at_s[last])


def _last_median(values: Floats | None) -> float | None:
    if values is None or not np.isfinite(values).any():
        return None
    return float(np.nanmedian(values)) * 1e3
