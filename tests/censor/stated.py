"""What detectors state about flows, and packets for the tests of media."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from random import Random

from testbed.censor.actions.pass_ import Pass
from testbed.censor.censor import Censor
from testbed.censor.detectors import LABELS, VALUES
from testbed.censor.facts import Part
from testbed.censor.match import Match
from tests.censor.packets import COOKIE, joining, profile, rule, tcp, udp
from tests.censor.vectors import Sent

EVERYTHING = profile(
    *(rule(label, Match(label=label), Pass()) for label in sorted(LABELS)),
    *(rule(name, Match(**{name: ("*",)}), Pass()) for name in VALUES),  # type: ignore[arg-type]
)
INTERVAL_S = 0.02
OWN_ATTRIBUTE = b"\x40\x03\0\x08" + bytes(8)
"""Of WhatsApp's; no RFC defines it."""


def facts(
    sent: Sequence[Sent], protocol: str = "udp", *, reassembles: Sequence[Part] = ()
) -> set[str]:
    """Return all that all detectors state about a flow, as the event log says it."""
    looking = profile(*EVERYTHING.rules, inspection=joining(*reassembles))
    censor = Censor(looking, Random(0))
    sequences = {True: 1000, False: 2000}
    for number, (up, payload) in enumerate(sent):
        if protocol == "udp":
            packet = udp(payload, up=up)
        else:
            packet = tcp(payload, up=up, sequence=sequences[up])
            sequences[up] += len(payload)
        censor.on_packet(packet, number * INTERVAL_S)
    found = [event.what for event in censor.events if ": rule" not in event.what]
    assert len(set(found)) == len(found)
    return {what.removeprefix("recognised as ") for what in found}


def labels(found: set[str]) -> set[str]:
    return {fact for fact in found if " = " not in fact}


def up(*payloads: bytes) -> list[Sent]:
    return [(True, payload) for payload in payloads]


def stun(kind: int, size_bytes: int) -> bytes:
    return struct.pack("!HH", kind, size_bytes) + COOKIE + Random(kind).randbytes(12 + size_bytes)


def timed(sent: Sequence[tuple[float, bytes]]) -> bool:
    """Return whether datagrams with their times (s) are taken for a call."""
    censor = Censor(profile(rule("r", Match(label="rtp-timing"), Pass())), Random(0))
    for at, payload in sent:
        censor.on_packet(udp(payload), at)
    return any("rtp-timing" in event.what for event in censor.events)


def rtp_packet(number: int, source: int = 7) -> bytes:
    return b"\x80\x6f" + struct.pack("!HII", number, 960 * number, source) + bytes(100)


RECEIVER_REPORT = b"\x80\xc9\0\1\0\0\0\7" + bytes(20)
DTLS_DATA = b"\x17\xfe\xfd\0\1\0\0\0\0\0\2\0\x30" + bytes(48)
