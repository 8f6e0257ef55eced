"""Define what a detector is, and the facts that it may state about a flow.

A file in `detectors/` makes its detectors known as `KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple, Protocol

from testbed.censor.packet import Packet


class Fact(NamedTuple):
    """Something that is known about a flow and never becomes untrue."""

    name: str
    """A label, such as `dtls`, or the name of a value, such as `sni`."""
    value: str = ""
    """The value; empty for a label."""


Part = Literal["tcp-segments", "tls-records", "quic-frames", "quic-datagrams", "dtls-fragments"]
"""The parts of messages that a middlebox may reassemble before it reads them: TCP segments, TLS
records, CRYPTO frames in one QUIC datagram, QUIC datagrams, and DTLS fragments."""


class Reading(NamedTuple):
    """How a middlebox reads what it inspects, according to the profile."""

    reassembles: frozenset[Part] = frozenset()
    quic_first_frame: bool = False
    """QUIC's ClientHello is read only in a payload that begins with a CRYPTO frame."""


UNFINISHED: Final[Sequence[Fact]] = []
"""The answer of a detector that has the beginning of a message and waits for the rest, even beyond
its kind's limit of packets. Compare it by identity."""


class Detector(Protocol):
    """Inspects the packets of one flow. Its state is bounded, and it never raises."""

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Inspect the flow's next packet with payload, in either direction; `now` (s) ascends.

        None or `UNFINISHED` means that the detector needs more packets. Any other result is final;
        an empty one means that it gave up. If the kind reads a stream (`Kind.reads_stream`) and the
        middlebox reassembles segments, the payload is everything that has arrived so far in the
        packet's direction.
        """
        ...


class Kind(NamedTuple):
    """A kind of detector, and the flows it is for."""

    protocol: str
    """The transport protocol of the flows that it inspects."""
    states: tuple[str, ...]
    """The facts that it may state."""
    make: Callable[[Reading], Detector]
    """Make a detector for one flow."""
    packets: int | None
    """How many packets with payload it inspects, unless the profile sets it; None: all."""
    parts: frozenset[Part] = frozenset()
    """The parts whose reassembly affects what it finds."""

    @property
    def reads_stream(self) -> bool:
        """Return whether it reads the reassembled stream of a direction instead of segments."""
        return "tcp-segments" in self.parts


OPENING_PACKETS, SET_UP_PACKETS = 4, 40
"""The number of packets within which a protocol shows at the start of a connection, or in a call's
set-up."""


def of_packets(
    protocol: str, states: tuple[str, ...], make: Callable[[], Detector], packets: int | None
) -> Kind:
    """Return a kind that inspects packets one by one, whatever the middlebox reassembles."""
    return Kind(protocol, states, lambda reading: make(), packets)


def of_stream(states: tuple[str, ...], make: Callable[[Reading], Detector], *parts: Part) -> Kind:
    """Return a kind that inspects the beginning of each direction of a TCP connection."""
    return Kind("tcp", states, make, OPENING_PACKETS, frozenset({"tcp-segments", *parts}))
