"""Finds the IP packet in a captured frame, by link type.

Link types are those of libpcap's API (https://www.tcpdump.org/linktypes.html). Each function
returns the offset at which the IP packet begins, or None if the frame carries no IP packet or is
too short to tell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

_IPV4, _IPV6 = 0x0800, 0x86DD
_VLAN_TAGS = (0x8100, 0x88A8, 0x9100)
"""IEEE 802.1Q, 802.1ad, and the number used for the latter before it was assigned one."""
_MPLS, _PPPOE_SESSION = 0x8847, 0x8864
_MAX_TAGS = 8
_PPP_IPV4, _PPP_IPV6 = 0x0021, 0x0057


def _by_type(frame: bytes, at: int) -> int | None:
    """Continue from the EtherType at an offset, across VLAN tags, MPLS labels and PPPoE."""
    for _ in range(_MAX_TAGS):
        kind = int.from_bytes(frame[at : at + 2], "big")
        at += 2
        if kind in (_IPV4, _IPV6):
            return at
        if kind == _PPPOE_SESSION:
            return _ppp(frame, at + 6)
        if kind == _MPLS:
            return _after_labels(frame, at)
        if kind not in _VLAN_TAGS:
            return None
        at += 2
    return None


def _after_labels(frame: bytes, at: int) -> int | None:
    """Skip MPLS labels to the one at the bottom of the stack (RFC 3032, 2.1)."""
    for label_at in range(at, min(len(frame), at + 4 * _MAX_TAGS), 4):
        if frame[label_at + 2 : label_at + 3] and frame[label_at + 2] & 1:
            return label_at + 4
    return None


def _ethernet(frame: bytes) -> int | None:
    return _by_type(frame, 12)


def _raw(frame: bytes) -> int | None:
    return 0


def _loopback(frame: bytes) -> int | None:
    """Skip the address family: its numbers differ by system, and the IP version is sufficient."""
    return 4


def _cooked(frame: bytes) -> int | None:
    """Skip the header of Linux "any" captures, version 1."""
    return _by_type(frame, 14)


def _cooked2(frame: bytes) -> int | None:
    """Skip the 20-byte header of Linux "any" captures, version 2, which begins with the type."""
    kind = int.from_bytes(frame[:2], "big")
    if kind in _VLAN_TAGS:
        return _by_type(frame, 22)
    return 20 if kind in (_IPV4, _IPV6) else None


def _ppp(frame: bytes, at: int = 0) -> int | None:
    """Skip the PPP header, whose fields may be compressed (RFC 1661, 6.5 and 6.6)."""
    if frame[at : at + 2] == b"\xff\x03":
        at += 2
    size = 1 if frame[at : at + 1] and frame[at] & 1 else 2
    protocol = int.from_bytes(frame[at : at + size], "big")
    return at + size if protocol in (_PPP_IPV4, _PPP_IPV6) else None


def _ppp_over_ethernet(frame: bytes) -> int | None:
    return _ppp(frame, 6)


def _wireless(frame: bytes, at: int = 0) -> int | None:
    """Skip the header of an 802.11 data frame and its LLC header; encrypted frames yield None."""
    if len(frame) < at + 24 or frame[at] & 0x0C != 0x08 or frame[at + 1] & 0x40:
        return None
    has_four_addresses, has_qos = frame[at + 1] & 3 == 3, bool(frame[at] & 0x80)
    llc_at = at + 24 + 6 * has_four_addresses + 2 * has_qos
    if frame[llc_at : llc_at + 3] != b"\xaa\xaa\x03":
        return None
    return _by_type(frame, llc_at + 6)


def _radiotap(frame: bytes) -> int | None:
    return _wireless(frame, int.from_bytes(frame[2:4], "little"))


_LINK_TYPES: Mapping[int, Callable[[bytes], int | None]] = {
    0: _loopback,
    1: _ethernet,
    9: _ppp,
    12: _raw,
    14: _raw,
    50: _ppp,
    51: _ppp_over_ethernet,
    101: _raw,
    105: _wireless,
    108: _loopback,
    113: _cooked,
    127: _radiotap,
    228: _raw,
    229: _raw,
    276: _cooked2,
}
_LEAST_BYTES = 20
"""The size of the smallest IP header; a shorter packet cannot be parsed."""
READ = "Ethernet, raw IP, loopback, Linux cooked (1 and 2), PPP, PPPoE, 802.11"


def is_read(link_type: int) -> bool:
    """Return whether frames of a link type can be read."""
    return link_type in _LINK_TYPES


def ip_packet(link_type: int, frame: bytes) -> bytes | None:
    """Return the frame's content from its IP header on; None if it carries no IP.

    Raises:
        KeyError: The link type is not supported.
    """
    at = _LINK_TYPES[link_type](frame)
    if at is None or len(frame) < at + _LEAST_BYTES or frame[at] >> 4 not in (4, 6):
        return None
    return frame[at:]
