"""Reads from TCP connections what their segments show: losses, resets, and who stopped answering.

Segments that this end sends twice were lost, or their acknowledgements were: the share is an upper
bound of the loss. Of what comes in, a segment that fills a hole was lost before, unless it is so
little late that it was merely overtaken (RFC 9293, 3.10; RFC 8985 uses time in the same way).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from testbed.analysis.statistics import Estimate, share
from testbed.tools.fitting.capture_reading import FlowRecord
from testbed.tools.fitting.columns import Columns
from testbed.transport.internet import FIN, RST

_OVERTAKEN_S = 0.005
_LEAST_SEGMENTS = 20
_WRAP, _HALF = 1 << 32, 1 << 31


@dataclass(frozen=True)
class ResetSeen:
    """A segment that ended the connection."""

    after_s: float
    """Seconds since the flow's first packet."""
    packets_before: int
    ttl: int
    usual_ttl: int | None
    """The TTL of the other segments that came in; None if there were none."""

    @property
    def is_foreign(self) -> bool:
        """Whether it came another way, or from elsewhere, than the server's segments."""
        return self.usual_ttl is not None and self.ttl != self.usual_ttl


@dataclass(frozen=True)
class TcpSeen:
    """What a TCP connection shows at one end."""

    retransmitted: Estimate | None
    """The share of data segments that this end sent again; None if it sent few."""
    filled: Estimate | None
    """The share of incoming data segments that filled a hole; None if there were few."""
    resets: tuple[ResetSeen, ...]
    received_bps: float
    length_s: float


def read_connection(flow: FlowRecord) -> TcpSeen:
    """Return what a TCP flow shows."""
    columns = flow.columns
    data = columns.ticks > 0
    sent, received = columns.where(columns.out & data), columns.where(~columns.out & data)
    length_s = float(np.ptp(columns.at_s)) if len(columns.at_s) else 0.0
    received_bps = float(received.size_bytes.sum()) * 8 / length_s if length_s else 0.0
    again = _again(sent)
    return TcpSeen(
        _share(int(again.sum()), len(again)),
        _share(_filled(received), len(received.at_s)),
        tuple(_resets(columns)),
        received_bps,
        length_s,
    )


def _share(hits: int, n: int) -> Estimate | None:
    return share(hits, n) if n >= _LEAST_SEGMENTS else None


def segment_bytes(packets: Columns) -> tuple[np.ndarray, np.ndarray]:
    """Return where each segment begins and ends in the stream, continued beyond 32 bits."""
    first = packets.number[:1]
    steps = (np.diff(packets.number) + _HALF) % _WRAP - _HALF
    begins = np.concatenate([first, first + np.cumsum(steps)]) if len(first) else first
    return begins, begins + packets.ticks


def _again(sent: Columns) -> np.ndarray:
    """Return which segments begin before the highest byte sent so far."""
    begins, ends = segment_bytes(sent)
    highest = np.concatenate([begins[:1], np.maximum.accumulate(ends)[:-1]])
    return begins < highest


def _filled(received: Columns) -> int:
    """Return how many segments filled a hole that was open for longer than overtaking takes."""
    begins, ends = segment_bytes(received)
    seen: set[int] = set()
    highest, highest_since_s, count = (int(begins[0]) if len(begins) else 0), 0.0, 0
    for begin, end, at_s in zip(
        begins.tolist(), ends.tolist(), received.at_s.tolist(), strict=True
    ):
        if begin >= highest:
            highest_since_s = at_s if begin > highest else highest_since_s
            highest = end
        elif begin not in seen:
            count += at_s - highest_since_s > _OVERTAKEN_S
        seen.add(begin)
    return count


def _resets(columns: Columns) -> list[ResetSeen]:
    incoming = ~columns.out
    is_reset = (columns.flags & RST) != 0
    usual = columns.ttl[incoming & ~is_reset]
    usual_ttl = int(np.median(usual)) if len(usual) else None
    found = []
    closing = np.flatnonzero((columns.flags & FIN) != 0)
    open_until = int(closing[0]) if len(closing) else len(is_reset)
    # A reset after a FIN is how some programs close.
    for row in np.flatnonzero((incoming & is_reset)[:open_until]).tolist():
        after_s = float(columns.at_s[row] - columns.at_s[0])
        found.append(ResetSeen(after_s, row, int(columns.ttl[row]), usual_ttl))
    return found
