"""What detectors may state about a flow, and what a detector is; none of them lives here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, Protocol

from testbed.censor.packet import Packet


class Fact(NamedTuple):
    """Something that is known of a flow for good."""

    name: str
    """A label, such as `dtls`, or the name of a value, such as `sni`."""
    value: str = ""
    """Empty for a label."""


Part = Literal["tcp-segments", "tls-records", "quic-frames", "quic-datagrams", "dtls-fragments"]
"""Where a message may be cut that a box puts together before it reads it, or does not: segments of
TCP, records of TLS, CRYPTO frames of one QUIC datagram, datagrams of QUIC, fragments of DTLS."""


class Reading(NamedTuple):
    """How a box reads what it looks at, as a profile's inspection says."""

    reassembles: frozenset[Part] = frozenset()
    quic_first_frame: bool = False
    """QUIC's ClientHello is read only in a payload that begins with a CRYPTO frame."""


UNFINISHED: Final[Sequence[Fact]] = []
"""What a detector answers that has the beginning of what it reads and waits for the rest, however
many packets of its kind's limit have passed. It is known by its identity."""


class Detector(Protocol):
    """Looks at the packets of one flow. It has one per flow, bounded state, and never raises."""

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Look at the flow's next packet with payload, in either direction; `now` (s) rises.

        None or `UNFINISHED`: it goes on looking. Otherwise it is done; without a fact it has given
        up. Of a kind that reads a stream (`Kind.reads_stream`), a packet's payload is all that has
        come of its direction, if the box puts segments together.
        """
        ...
