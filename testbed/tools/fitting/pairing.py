"""Matches the packets of two captures, one of each end of a call.

Packets are matched by their content, whatever relay is in between. The two clocks differ by an
offset and drift apart; both follow from the fastest packets of either direction. Packets take at
least the path's delay, so all delays lie above a line whose slope is the drift: an edge of their
lower convex hull (Moon, Skelly and Towsley, Estimation and Removal of Clock Skew from Network Delay
Measurements, INFOCOM 1999). The offset is set such that the fastest packets take as long in both
directions: which of the two a constant delay belongs to cannot be known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from testbed.censor.packet import Direction
from testbed.tools.fitting.capture_reading import CaptureRecord, FlowRecord
from testbed.tools.fitting.columns import Bools, Floats, Ints
from testbed.tools.fitting.passages import LEAST_PACKETS, Passage
from testbed.tools.fitting.wire_identity import Kind
from testbed.tools.recognition.capture_file import CaptureError

_MAX_DRIFT = 5e-4
"""Clocks of computers and phones drift by far less; a larger slope is a queue that grows."""
_LEAST_MATCHED = 3


@dataclass(frozen=True)
class Clocks:
    """How the far end's clock relates to the near end's."""

    offset_s: float
    """What the far clock shows more than the near one at the near capture's beginning."""
    drift: float
    """How many seconds it gains in a second."""

    def near_s(self, far_s: Floats) -> Floats:
        """Return times of the far clock by the near one."""
        return (far_s - self.offset_s) / (1 + self.drift)


class _Side(NamedTuple):
    """Datagrams that one end sent or received, of all its flows."""

    at_s: Floats
    size_bytes: Ints
    content: Ints
    group: Ints
    """Packets of one flow and stream are a group."""
    flow: Ints
    """The position of the flow in the capture."""

    def where(self, chosen: Bools | Ints) -> _Side:
        return _Side(
            self.at_s[chosen],
            self.size_bytes[chosen],
            self.content[chosen],
            self.group[chosen],
            self.flow[chosen],
        )


class _Matched(NamedTuple):
    """Datagrams that one end sent, and what the other one received of them."""

    sent: _Side
    arrival: Ints
    """The rows of the arrivals; -1 for a packet that did not arrive."""
    copies: Ints
    arrived: _Side


@dataclass(frozen=True)
class Pairing:
    """Two captures of one call."""

    clocks: Clocks
    passages: Sequence[Passage]
    matched: int
    """How many packets are in both."""


def pair(near: CaptureRecord, far: CaptureRecord) -> Pairing:
    """Match two captures; up is what the near end sends.

    Raises:
        CaptureError: They have no packets in common.
    """
    up = _match(_side(near.flows, out=True), _side(far.flows, out=False))
    down = _match(_side(far.flows, out=True), _side(near.flows, out=False))
    matched = int((up.arrival >= 0).sum() + (down.arrival >= 0).sum())
    if matched < LEAST_PACKETS:
        raise CaptureError(
            f"{near.path} and {far.path} have {matched} packets in common, too few to be two ends "
            "of a call"
        )
    clocks = _clocks(up, down)
    passages = [*_passages_up(near, up, clocks), *_passages_down(near, down, clocks)]
    return Pairing(clocks, passages, matched)


def _side(flows: Sequence[FlowRecord], *, out: bool) -> _Side:
    """Return what a capture's own end sent, or what it received."""
    parts = [
        (number, flow.columns.where(flow.columns.out == out))
        for number, flow in enumerate(flows)
        if flow.seen.protocol == "udp"
    ]
    empty_s, empty = np.empty(0), np.empty(0, dtype=np.int64)
    if not parts:
        return _Side(empty_s, empty, empty, empty, empty)
    source = np.concatenate([part.source for _, part in parts])
    kind = np.concatenate([part.kind for _, part in parts])
    flow = np.concatenate([np.full(len(part.at_s), number) for number, part in parts])
    classes = np.stack([flow, kind, source], axis=1)
    group = np.unique(classes, axis=0, return_inverse=True)[1].reshape(-1)
    # STUN has a group of its own that never counts.
    group = np.where(kind == Kind.STUN, -1, group)
    return _Side(
        np.concatenate([part.at_s for _, part in parts]),
        np.concatenate([part.size_bytes for _, part in parts]),
        np.concatenate([part.content for _, part in parts]),
        group,
        flow,
    )


def _match(sent: _Side, arrived: _Side) -> _Matched:
    """Match by content: the first arrival of a content to its first sending, and so on."""
    sent = sent.where(np.argsort(sent.at_s, kind="stable"))
    arrived = arrived.where(np.argsort(arrived.at_s, kind="stable"))
    rank_sent, _ = _ranks(sent.content)
    rank_arrived, _ = _ranks(arrived.content)
    where = {
        key: row
        for row, key in enumerate(zip(arrived.content.tolist(), rank_arrived.tolist(), strict=True))
    }
    keys = zip(sent.content.tolist(), rank_sent.tolist(), strict=True)
    arrival = np.array([where.get(key, -1) for key in keys], dtype=np.int64)
    copies = (arrival >= 0).astype(np.int64)
    # What arrived more often than it was sent is a copy of its last sending.
    contents, counts = np.unique(arrived.content, return_counts=True)
    sent_contents, sent_counts = np.unique(sent.content, return_counts=True)
    surplus = dict(zip(contents.tolist(), counts.tolist(), strict=True))
    for content, count in zip(sent_contents.tolist(), sent_counts.tolist(), strict=True):
        extra = surplus.get(content, 0) - count
        if extra > 0:
            copies[np.flatnonzero(sent.content == content)[-1]] += extra
    return _Matched(sent, arrival, copies, arrived)


def _ranks(values: Ints) -> tuple[Ints, Ints]:
    """Return how many equal values precede each, and the order of the values."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    begins = np.concatenate([[True], ordered[1:] != ordered[:-1]]) if len(values) else ordered
    places = np.arange(len(values))
    firsts = np.maximum.accumulate(np.where(begins, places, 0)) if len(values) else places
    ranks = np.empty(len(values), dtype=np.int64)
    ranks[order] = places - firsts
    return ranks, order


def _clocks(up: _Matched, down: _Matched) -> Clocks:
    """Return how the clocks relate, from the delays of both directions."""
    lines = []
    for matched, sign in ((up, 1.0), (down, -1.0)):
        hit = matched.arrival >= 0
        if hit.sum() < LEAST_PACKETS:
            continue
        sent_s = matched.sent.at_s[hit]
        arrived_s = matched.arrived.at_s[matched.arrival[hit]]
        near_s = sent_s if sign > 0 else arrived_s
        lines.append((sign, near_s, arrived_s - sent_s))
    slopes = [sign * _slope(near_s, delay_s) for sign, near_s, delay_s in lines]
    drift = float(np.mean(slopes))
    if abs(drift) > _MAX_DRIFT:
        drift = 0.0
    least = [sign * float(np.min(d - sign * drift * near_s)) for sign, near_s, d in lines]
    return Clocks(float(np.mean(least)), drift)


def _slope(at_s: Floats, delay_s: Floats) -> float:
    """Return the slope of the line below all delays that is closest to them in the mean."""
    hull: list[tuple[float, float]] = []
    for x, y in zip(at_s.tolist(), delay_s.tolist(), strict=True):
        while len(hull) >= 2 and _turns_right(hull[-2], hull[-1], (x, y)):
            hull.pop()
        hull.append((x, y))
    middle = float(np.mean(at_s))
    for (x1, y1), (x2, y2) in pairwise(hull):
        if x1 <= middle <= x2 and x2 > x1:
            return (y2 - y1) / (x2 - x1)
    return 0.0


def _turns_right(
    one: tuple[float, float], two: tuple[float, float], three: tuple[float, float]
) -> bool:
    return (two[0] - one[0]) * (three[1] - one[1]) <= (three[0] - one[0]) * (two[1] - one[1])


def _counted(matched: _Matched) -> Bools:
    """Return which packets should have arrived: those of groups of which some did."""
    counted = np.zeros(len(matched.sent.at_s), dtype=bool)
    for group in np.unique(matched.sent.group[matched.sent.group >= 0]):
        chosen = matched.sent.group == group
        counted |= chosen & ((matched.arrival[chosen] >= 0).sum() >= _LEAST_MATCHED)
    return counted


def _passages_up(near: CaptureRecord, up: _Matched, clocks: Clocks) -> Iterator[Passage]:
    arrived_s = _or_nan(clocks.near_s(up.arrived.at_s), up.arrival)
    counted = _counted(up)
    for number in np.unique(up.sent.flow):
        chosen = up.sent.flow == number
        if (counted & chosen).sum() < LEAST_PACKETS:
            continue
        # Packets that end at a relay are taken to pass: no end can see that.
        at_s = np.where(counted, arrived_s, up.sent.at_s)
        yield Passage(
            near.flows[int(number)],
            Direction.UP,
            "both ends",
            up.sent.at_s[chosen],
            up.sent.size_bytes[chosen].astype(float),
            at_s[chosen],
            np.where(counted, up.copies, 1)[chosen],
            counted[chosen],
            has_times=True,
        )


def _passages_down(near: CaptureRecord, down: _Matched, clocks: Clocks) -> Iterator[Passage]:
    arrived_s = _or_nan(down.arrived.at_s, down.arrival)
    sent_s = clocks.near_s(down.sent.at_s)
    counted = _counted(down)
    came_by = np.where(down.arrival >= 0, down.arrived.flow[down.arrival], -1)
    for number in np.unique(down.sent.flow):
        chosen = counted & (down.sent.flow == number)
        hit = came_by[chosen & (came_by >= 0)]
        if chosen.sum() < LEAST_PACKETS or not len(hit):
            continue
        near_number = int(np.bincount(hit).argmax())
        rest = _unmatched(down, near_number)
        columns = [
            (sent_s[chosen], rest.at_s),
            (down.sent.size_bytes[chosen].astype(float), rest.size_bytes.astype(float)),
            (arrived_s[chosen], rest.at_s),
            (down.copies[chosen], np.ones(len(rest.at_s), dtype=np.int64)),
            (np.ones(int(chosen.sum()), dtype=bool), np.zeros(len(rest.at_s), dtype=bool)),
        ]
        sent, size, arrived, copies, is_counted = (np.concatenate(pair_) for pair_ in columns)
        order = np.argsort(sent, kind="stable")
        yield Passage(
            near.flows[near_number],
            Direction.DOWN,
            "both ends",
            sent[order],
            size[order],
            arrived[order],
            copies[order],
            is_counted[order],
            has_times=True,
        )


def _unmatched(down: _Matched, flow: int) -> _Side:
    """Return what a flow of the near end received and the far end did not send: a relay did."""
    ours = np.isin(down.arrived.content, down.sent.content)
    return down.arrived.where(~ours & (down.arrived.flow == flow))


def _or_nan(at_s: Floats, rows: Ints) -> Floats:
    if not len(at_s):
        return np.full(len(rows), np.nan)
    return np.where(rows >= 0, at_s[rows], np.nan)
