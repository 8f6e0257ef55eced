"""Derive a call's frames from the RTP and RTCP that an engine exchanged with its relay.

SRTP leaves the RTP header in clear (RFC 3711, 3.1), and its timestamp counts samples of 48 kHz. So
the timestamp of a packet, less that of the first one, divided by the samples per frame, is the
frame's index; and the packet that left with the least delay relative to its timestamp fixes when
each frame could have left (`direction`). The encodings that an adaptive sender chose follow from
the receiver reports that reached it (`receiver_reports`, `variants`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator
from math import ceil
from typing import NamedTuple

from testbed.call.adaptation import Receiver, Sender
from testbed.lab.nodes.tap import Seen
from testbed.record.observation import DirectionRecord

_RTP_HEADER_BYTES = 12
_PADDING = 0x20
"""A flag in the first byte (RFC 3550, 5.1)."""
_CLOCK_HZ = 48000
"""The rate of Opus timestamps, whatever the sampling rate (RFC 7587, 4.1)."""
_ROUNDING = 1e-6
_RTCP_HEADER_BYTES = 8
_WITH_REPORTS = (200, 201)
"""Sender and receiver reports (RFC 3550, 12.1)."""
_REPORT_COUNT = 0x1F
"""The bits of the first byte that hold the number of report blocks (RFC 3550, 6.4.1)."""


class Reported(NamedTuple):
    """One of an end's receiver reports; times in seconds since dialling."""

    sent_s: float
    received_s: float | None
    """None if it was lost."""


class Types(NamedTuple):
    """The RTP payload types of packets that carry frames."""

    frame: int
    redundant: int | None = None
    """Of packets that carry the frame before their own, too (RFC 2198), if there are any."""


OPUS = Types(111)
"""Opus in all engines that are built on libwebrtc (RFC 7587 assigns no type)."""


def direction(
    sent: Iterable[Seen],
    got: Iterable[Seen],
    *,
    unwrap: Callable[[bytes], bytes],
    types: Types,
    frame_s: float,
    dialled_at: float,
    between: tuple[float, float],
) -> DirectionRecord:
    """Return the frames that one end said in the interval `between`, and when the other got them.

    `unwrap` removes what the relay's protocol puts around an RTP packet (empty: there is none). A
    frame counts as sent at the time at which it could have left, if no frame had waited in the
    engine or, with TCP, in its socket. A frame that never left, because the engine had no
    connection or dropped it, counts nonetheless. What a redundant packet carries has arrived with
    it, once more or for the first time.
    """
    step = round(frame_s * _CLOCK_HZ)
    left: dict[int, float] = {}
    before: list[int] = []
    for at, timestamp, _ in _media(sent, unwrap, types):
        if at >= between[0]:
            left.setdefault(timestamp, at - dialled_at)
        else:
            before.append(timestamp)
    record = DirectionRecord()
    if not left:
        return record
    first = min(left)
    record.said_before = max(round((first - min(before, default=first)) / step), 0)
    first_s = min(at - (timestamp - first) / _CLOCK_HZ for timestamp, at in left.items())
    count = max(ceil((between[1] - dialled_at - first_s) / frame_s - _ROUNDING), 0)
    record.sent_s += [first_s + index * frame_s for index in range(count)]
    for at, timestamp, kind in _media(got, unwrap, types, near=first):
        index = round((timestamp - first) / step)
        carried = (index, index - 1) if kind == types.redundant else (index,)
        record.received += [(each, at - dialled_at) for each in carried if 0 <= each < count]
    return record


def receiver_reports(
    sent: Iterable[Seen],
    got: Iterable[Seen],
    *,
    unwrap: Callable[[bytes], bytes],
    dialled_at: float,
) -> list[Reported]:
    """Return when an end's receiver reports left, and when they reached the other end.

    SRTCP encrypts everything after the first header (RFC 3711, 3.4); that header shows whether
    there is a report. An encrypted packet occurs only once, so its bytes identify it.
    """
    arrived = {packet: at for at, packet in _reports(got, unwrap)}
    return [
        Reported(at - dialled_at, arrived[packet] - dialled_at if packet in arrived else None)
        for at, packet in _reports(sent, unwrap)
    ]


def variants(
    direction: DirectionRecord, reports: Iterable[Reported], sender: Sender
) -> Iterator[int]:
    """Yield each frame's encoding, as `sender` chose it from the reports that it had received.

    The reports are encrypted, so their content is computed again from what had been received when
    they left.
    """
    told = deque[tuple[float, float]]()
    arrivals, receiver = deque(sorted((at, index) for index, at in direction.received)), Receiver()
    for report in reports:
        while arrivals and arrivals[0][0] <= report.sent_s:
            receiver.take(arrivals.popleft()[1])
        lost = receiver.report()
        if lost is not None and report.received_s is not None:
            told.append((report.received_s, lost / 256))
    for at in direction.sent_s:
        while told and told[0][0] <= at:
            received_s, lost_share = told.popleft()
            sender.on_report(lost_share, received_s)
        yield sender.variant


def _reports(
    packets: Iterable[Seen], unwrap: Callable[[bytes], bytes]
) -> Iterator[tuple[float, bytes]]:
    for at, packet in packets:
        rtcp = unwrap(packet)
        if len(rtcp) < _RTCP_HEADER_BYTES or rtcp[0] >> 6 != 2 or rtcp[1] not in _WITH_REPORTS:
            continue
        if rtcp[0] & _REPORT_COUNT:
            yield at, rtcp


def _media(
    packets: Iterable[Seen],
    unwrap: Callable[[bytes], bytes],
    types: Container[int | None],
    near: int | None = None,
) -> Iterable[tuple[float, int, int]]:
    """Yield time, unwrapped timestamp and payload type of each packet that carries a frame.

    Packets of padding alone carry none: libwebrtc sends them, with sequence numbers of the same
    series, to probe a path's capacity.
    """
    for at, packet in packets:
        rtp = unwrap(packet)
        if len(rtp) < _RTP_HEADER_BYTES or rtp[0] >> 6 != 2 or rtp[1] & 0x7F not in types:
            continue
        if rtp[0] & _PADDING:
            continue
        timestamp = int.from_bytes(rtp[4:8], "big")
        near = timestamp if near is None else near + _signed(timestamp - near)
        yield at, near, rtp[1] & 0x7F


def _signed(difference: int) -> int:
    """Return the 32-bit difference that is nearest to 0."""
    return (difference + (1 << 31)) % (1 << 32) - (1 << 31)
