"""Builds packets and profiles for the censor's tests."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

from testbed.censor.action import Action, action_numbers
from testbed.censor.facts import Part
from testbed.censor.match import Match
from testbed.censor.packet import Direction, Packet, parse_packet
from testbed.censor.profile import Inspection, Profile, Rule
from testbed.evidence import Evidence

INSIDE, OUTSIDE = "10.1.1.1", "10.2.3.2"
INSIDE6, OUTSIDE6 = "fd00:1::1", "fd00:2::3"
COOKIE = bytes.fromhex("2112a442")
STUN_BINDING = struct.pack("!HH", 1, 0) + COOKIE + bytes(12)


def ipv4(payload: bytes, protocol: int, source: str, destination: str, fragment: int = 0) -> bytes:
    """Build an IPv4 packet; checksums are left 0, no detector looks at them."""
    return (
        struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, fragment, 64, protocol, 0)
        + IPv4Address(source).packed
        + IPv4Address(destination).packed
        + payload
    )


def ipv6(
    payload: bytes,
    protocol: int,
    source: str,
    destination: str,
    extensions: Sequence[tuple[int, bytes]] = (),
) -> bytes:
    """Build an IPv6 packet; each extension is its type and what follows its next-header byte."""
    types = [kind for kind, _ in extensions] + [protocol]
    chain = b"".join(
        bytes([following]) + rest
        for following, (_, rest) in zip(types[1:], extensions, strict=True)
    )
    return (
        struct.pack("!IHBB", 6 << 28, len(chain) + len(payload), types[0], 64)
        + IPv6Address(source).packed
        + IPv6Address(destination).packed
        + chain
        + payload
    )


def udp(payload: bytes, *, up: bool = True, port: int = 3478, client_port: int = 40000) -> Packet:
    """Build a UDP packet between a client inside and a server outside."""
    ports = (client_port, port) if up else (port, client_port)
    ends = (INSIDE, OUTSIDE) if up else (OUTSIDE, INSIDE)
    datagram = struct.pack("!HHHH", *ports, 8 + len(payload), 0) + payload
    direction = Direction.UP if up else Direction.DOWN
    return parse_packet(ipv4(datagram, 17, *ends), direction)


def tcp(
    payload: bytes,
    *,
    up: bool = True,
    port: int = 443,
    client_port: int = 40000,
    sequence: int = 1,
    flags: int = 0x18,
) -> Packet:
    """Build a TCP segment between a client inside and a server outside."""
    ports = (client_port, port) if up else (port, client_port)
    ends = (INSIDE, OUTSIDE) if up else (OUTSIDE, INSIDE)
    header = struct.pack("!HHIIBBHHH", *ports, sequence % 2**32, 77, 5 << 4, flags, 1000, 0, 0)
    direction = Direction.UP if up else Direction.DOWN
    return parse_packet(ipv4(header + payload, 6, *ends), direction)


def rule(name: str, match: Match, action: Action) -> Rule:
    """Make a rule whose evidence says that it is a test's."""
    keys = ("match", "action", *action_numbers(action), *match.numbers)
    return Rule(name, match, action, {key: Evidence("a test", "assumed") for key in keys})


def profile(*rules: Rule, inspection: Inspection | None = None) -> Profile:
    """Make a profile of rules."""
    return Profile("test", "a test", rules, inspection or joining())


def joining(*parts: Part) -> Inspection:
    """Make an inspection that puts parts together."""
    return Inspection({"reassembles": Evidence("a test", "assumed")}, reassembles=parts)
