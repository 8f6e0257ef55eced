"""Recognise traffic that looks like nothing known because it is encrypted from its first byte."""

from __future__ import annotations

from collections.abc import Sequence

from testbed.censor.facts import OPENING_PACKETS, Fact, of_packets
from testbed.censor.packet import Packet

_HTTP_STARTS = (b"GET", b"HEA", b"POS", b"PUT", b"DEL", b"CON", b"OPT", b"TRA", b"PAT")
_LEAST_POPCOUNT, _MOST_POPCOUNT = 3.4, 4.6
_MOST_PRINTABLE_RUN = 20


class FullyEncrypted:
    """States `fully-encrypted` if none of five exemptions holds for the flow's first payload.

    The exemptions are those inferred for China's censor (gfw-report, "How the Great Firewall of
    China Detects and Blocks Fully Encrypted Traffic", USENIX Security 2023; OpenGFW's `fet.go`).
    """

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Inspect one segment."""
        return () if is_exempt(packet.payload) else (Fact("fully-encrypted"),)


def is_exempt(payload: bytes) -> bool:
    """Return whether one of the exemptions Ex1 to Ex5 holds for a payload of at least one byte."""
    popcount = int.from_bytes(payload, "big").bit_count() / len(payload)
    printable = [0x20 <= byte <= 0x7E for byte in payload]
    return (
        popcount <= _LEAST_POPCOUNT
        or popcount >= _MOST_POPCOUNT
        or (len(payload) >= 6 and all(printable[:6]))
        or sum(printable) * 2 > len(payload)
        or _longest_run(printable) > _MOST_PRINTABLE_RUN
        or _is_tls_or_http(payload)
    )


def _is_tls_or_http(payload: bytes) -> bool:
    start = payload[:3]
    is_tls = len(start) == 3 and start[0] in (0x16, 0x17) and start[1] == 3 and start[2] <= 9
    return is_tls or payload.startswith(_HTTP_STARTS)


def _longest_run(flags: Sequence[bool]) -> int:
    longest = run = 0
    for flag in flags:
        run = run + 1 if flag else 0
        longest = max(longest, run)
    return longest


KINDS = (of_packets("tcp", ("fully-encrypted",), FullyEncrypted, OPENING_PACKETS),)
