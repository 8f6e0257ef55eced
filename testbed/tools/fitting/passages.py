"""Puts together what one end of a call knows of the packets that were sent to it.

A stream whose packets are numbered shows at its receiver which of them did not arrive. RTP's time
stamps say when they were sent, at the sender's clock; of a lost packet, time and size are taken
from its neighbours. What one end sends itself is not known to arrive, so a passage of one capture
is always of its incoming direction (`pairing` makes passages of two captures).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from testbed.censor.packet import Direction
from testbed.tools.fitting.capture_reading import FlowRecord
from testbed.tools.fitting.columns import Bools, Columns, Floats, Ints
from testbed.tools.fitting.wire_identity import Kind

Basis = Literal["both ends", "numbers"]
LEAST_PACKETS = 20
"""Fewer packets of a stream say nothing about its path."""
_CLOCKS_HZ = (8000, 12000, 16000, 24000, 32000, 44100, 48000, 90000)
"""The clocks of audio and video formats (RFC 3551, RFC 7587)."""
_CLOCK_TOLERANCE = 0.03
_NUMBER_BITS, _TICK_BITS = 16, 32
_MAX_DROPOUT = 3000
"""A larger jump is a new beginning of the stream, not a loss (RFC 3550, A.1)."""
_NEAR = 64
_ASCENDING_SHARE = 0.8
_LEAST_PRESENT = 0.01


@dataclass(frozen=True)
class Passage:
    """What is known of the packets of one flow in one direction, in the order of sending."""

    flow: FlowRecord
    direction: Direction
    """Up: sent by the end that captured (of two captures, the first one's)."""
    basis: Basis
    sent_s: Floats
    """When the packets were sent, by the capturing end's clock; with one capture, up to the
    constant time that the fastest packet took."""
    size_bytes: Floats
    """The lengths of the IP packets."""
    arrived_s: Floats
    """When they arrived; NaN: they did not."""
    copies: Ints
    """How often they arrived."""
    counted: Bools
    """False for packets whose loss would not show, so that their arrival says nothing."""
    has_times: bool
    """Whether the times of sending are known other than from the arrivals."""

    @property
    def lost(self) -> Bools:
        """Return which packets did not arrive."""
        return np.isnan(self.arrived_s)

    @property
    def name(self) -> str:
        """Return its name without addresses."""
        return f"{self.flow.name}, {self.direction.value}"

    def where(self, chosen: Bools) -> Passage:
        """Return the part with the chosen packets."""
        return Passage(
            self.flow,
            self.direction,
            self.basis,
            self.sent_s[chosen],
            self.size_bytes[chosen],
            self.arrived_s[chosen],
            self.copies[chosen],
            self.counted[chosen],
            self.has_times,
        )


@dataclass(frozen=True)
class _Stream:
    """The packets of one numbered stream, with rows for those that are missing."""

    sent_s: Floats
    size_bytes: Floats
    arrived_s: Floats
    copies: Ints
    has_times: bool


def incoming_passage(flow: FlowRecord) -> Passage | None:
    """Return what a flow's own end knows of the packets that were sent to it.

    None means that no stream is numbered.
    """
    incoming = flow.columns.where(~flow.columns.out)
    if flow.seen.protocol != "udp":
        return None
    streams, numbered = [], np.zeros(len(incoming.at_s), dtype=bool)
    for chosen in numbered_sources(incoming):
        for part in _parts(incoming.where(chosen)):
            streams.append(_stream(part))
        numbered |= chosen
    if not streams:
        return None
    rest = incoming.where(~numbered)
    copies = np.ones(len(rest.at_s), dtype=np.int64)
    other = _Stream(rest.at_s, rest.size_bytes.astype(float), rest.at_s, copies, has_times=True)
    return _joined(flow, streams, other)


def _joined(flow: FlowRecord, streams: list[_Stream], rest: _Stream) -> Passage:
    parts = [*streams, rest]
    counted = np.concatenate(
        [np.full(len(part.sent_s), part is not rest, dtype=bool) for part in parts]
    )
    sent_s = np.concatenate([part.sent_s for part in parts])
    order = np.argsort(sent_s, kind="stable")
    return Passage(
        flow,
        Direction.DOWN,
        "numbers",
        sent_s[order],
        np.concatenate([part.size_bytes for part in parts])[order],
        np.concatenate([part.arrived_s for part in parts])[order],
        np.concatenate([part.copies for part in parts])[order],
        counted[order],
        all(stream.has_times for stream in streams),
    )


def numbered_sources(packets: Columns) -> Iterator[Bools]:
    """Yield which packets belong to each stream whose numbers ascend."""
    numbered = np.isin(packets.kind, (Kind.RTP, Kind.COUNTER))
    # Other datagrams look like RTP by chance, each of another source: there may be very many.
    sources, counts = np.unique(packets.source[numbered], return_counts=True)
    for source in sources[counts >= LEAST_PACKETS]:
        chosen = numbered & (packets.source == source)
        steps = np.diff(_unwrapped(packets.where(chosen)))
        if np.mean(np.abs(steps) <= _NEAR) >= _ASCENDING_SHARE:
            yield chosen


def _unwrapped(packets: Columns) -> Ints:
    """Return the numbers of a stream's packets, continued beyond their bits."""
    if packets.kind[0] != Kind.RTP:
        return packets.number
    return _continued(packets.number, _NUMBER_BITS)


def _continued(values: Ints, bits: int) -> Ints:
    half, whole = 1 << (bits - 1), 1 << bits
    steps = (np.diff(values) + half) % whole - half
    return np.concatenate([values[:1], values[0] + np.cumsum(steps)])


def _parts(packets: Columns) -> Iterator[Columns]:
    """Split a stream where it begins anew."""
    numbers = _unwrapped(packets)
    pace_s = float(np.median(np.diff(packets.at_s))) or 1e-3
    steps, gaps_s = np.diff(numbers), np.diff(packets.at_s)
    # After a silence, as many numbers may be missing as would have been sent in that time.
    allowed = np.minimum(_MAX_DROPOUT, _NEAR + 2 * gaps_s / pace_s)
    ends = np.flatnonzero(np.abs(steps) > allowed) + 1
    for rows in np.split(np.arange(len(numbers)), ends):
        # Numbers that leave out almost all are no count of packets, and need not fit into memory.
        if len(rows) >= max(LEAST_PACKETS, int(np.ptp(numbers[rows])) * _LEAST_PRESENT):
            chosen = np.zeros(len(numbers), dtype=bool)
            chosen[rows] = True
            yield packets.where(chosen)


def _stream(packets: Columns) -> _Stream:
    numbers = _unwrapped(packets)
    numbers = numbers - numbers.min()
    present, first, counts = np.unique(numbers, return_index=True, return_counts=True)
    count = int(present[-1]) + 1
    arrived_s = np.full(count, np.nan)
    arrived_s[present] = packets.at_s[first]
    copies = np.zeros(count, dtype=np.int64)
    copies[present] = counts
    every = np.arange(count)
    size_bytes = np.interp(every, present, packets.size_bytes[first].astype(float))
    sent_s = _sent_s(packets.ticks[first], packets.at_s[first], present, count)
    has_times = sent_s is not None
    if sent_s is None:
        # Without a clock of the sender's, the arrivals must do.
        sent_s = np.maximum.accumulate(np.interp(every, present, packets.at_s[first]))
    return _Stream(sent_s, size_bytes, arrived_s, copies, has_times)


def _sent_s(ticks: Ints, at_s: Floats, present: Ints, count: int) -> Floats | None:
    """Return when packets were sent by RTP's time stamps; None if their clock is unknown."""
    continued = _continued(ticks, _TICK_BITS)
    length_s, length_ticks = at_s[-1] - at_s[0], float(continued[-1] - continued[0])
    if length_s <= 0 or length_ticks <= 0:
        return None
    seen_hz = length_ticks / length_s
    clock_hz = min(_CLOCKS_HZ, key=lambda hz: abs(np.log(seen_hz / hz)))
    # The ends of a short stream may be late by a queue's length.
    tolerance = _CLOCK_TOLERANCE + 1.0 / max(length_s, 1.0)
    if abs(np.log(seen_hz / clock_hz)) > tolerance:
        return None
    sent_s = continued / clock_hz
    sent_s = sent_s + np.min(at_s - sent_s)
    every: Floats = np.interp(np.arange(count), present, sent_s)
    return every
