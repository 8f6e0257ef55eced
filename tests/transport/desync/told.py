"""Says of packets that were made from one what they are, so that tests read like documentation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from testbed.transport.desync.pasted_command import read_strategy
from testbed.transport.desync.rewriting import Desync
from testbed.transport.internet import ACK, Segment, checksum, encode, parse, pseudo_header

MESSENGER = "10.2.3.2"


def nothing(file: str) -> bytes | None:
    return None


def desync(command: str, read: Callable[[str], bytes | None] = nothing) -> Desync:
    return Desync(read_strategy(command, read), Random(1), [MESSENGER])


def told(packets: Sequence[bytes], original: Segment) -> list[str]:
    """Return for each packet which bytes of the original's payload it has, and how it differs."""
    return [_told(packet, original) for packet in packets]


def _told(packet: bytes, original: Segment) -> str:
    segment = parse(packet)
    if segment is None:
        place = int.from_bytes(packet[6:8], "big")
        return f"fragment at {(place & 0x1FFF) * 8} of {len(packet) - 20}"
    at = 0
    words = []
    if segment.tcp is not None:
        assert original.tcp is not None
        at = segment.tcp.sequence - original.tcp.sequence
        if not segment.tcp.flags & ACK:
            words.append("no ACK")
        if segment.tcp.acknowledgement != original.tcp.acknowledgement:
            by = segment.tcp.acknowledgement - original.tcp.acknowledgement
            words.append(f"acknowledging {by:+d}")
        if len(segment.tcp.options) > len(original.tcp.options):
            words.append("signed")
        elif segment.tcp.options != original.tcp.options:
            words.append("other time")
    if segment.ttl != original.ttl:
        words.append(f"TTL {segment.ttl}")
    pseudo = pseudo_header(packet[12:16], packet[16:20], packet[9], len(packet) - 20)
    if checksum(pseudo + packet[20:]):
        words.append("bad checksum")
    end = at + len(segment.payload)
    kind = "real" if at >= 0 and segment.payload == original.payload[at:end] else "fake"
    return ", ".join([f"{kind} {at}-{end}", *words])


def sent(command: str, *segments: Segment) -> list[list[str]]:
    """Return what leaves instead of each of some packets of one flow."""
    rewriter = desync(command)
    return [told(rewriter.sent(encode(each), 0.0), each) for each in segments]
