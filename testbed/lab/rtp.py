"""Turns the RTP packets that passed an engine's door into frames, for the playout; no sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from testbed.call.wire import unwrap_sequence
from testbed.lab.record import DirectionRecord
from testbed.lab.tap import Seen

_RTP_HEADER_BYTES = 12


def direction(
    sent: Iterable[Seen],
    got: Iterable[Seen],
    *,
    unwrap: Callable[[bytes], bytes],
    payload_type: int,
    frame_s: float,
    dialled_at: float,
    between: tuple[float, float],
) -> DirectionRecord:
    """Give the frames that one end sent in a time and the other end got whenever.

    `unwrap` takes an RTP packet out of what the relay's protocol puts around it (empty: none); the
    call's frames have the payload type.
    SRTP leaves sequence numbers in clear (RFC 3711, 3.1), and an engine gives each frame the next
    one. A number that was never sent is a frame that the engine itself dropped.
    """
    left: dict[int, float] = {}
    for at, sequence in _media(sent, unwrap, payload_type, near=0):
        if between[0] <= at < between[1]:
            left.setdefault(sequence, at - dialled_at)
    record = DirectionRecord()
    if not left:
        return record
    first = min(left)
    for sequence in range(first, max(left) + 1):
        before = record.sent_s[-1] if record.sent_s else 0.0
        record.sent_s.append(left.get(sequence, before + frame_s))
    count = len(record.sent_s)
    for at, sequence in _media(got, unwrap, payload_type, near=first):
        if 0 <= sequence - first < count:
            record.received.append((sequence - first, at - dialled_at))
    return record


def _media(
    packets: Iterable[Seen], unwrap: Callable[[bytes], bytes], payload_type: int, near: int
) -> Iterable[tuple[float, int]]:
    """Give the time and the sequence number, as if it had more than 16 bits, of each frame."""
    for at, packet in packets:
        rtp = unwrap(packet)
        if len(rtp) < _RTP_HEADER_BYTES or rtp[0] >> 6 != 2 or rtp[1] & 0x7F != payload_type:
            continue
        near = unwrap_sequence(int.from_bytes(rtp[2:4], "big"), near)
        yield at, near
