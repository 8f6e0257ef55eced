"""What detectors may state about a flow, and what a detector is; none of them lives here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from testbed.censor.packet import Packet


class Fact(NamedTuple):
    """Something that is known of a flow for good."""

    name: str
    """A label, such as `dtls`, or the name of a value, such as `sni`."""
    value: str = ""
    """Empty for a label."""


class Detector(Protocol):
    """Looks at the packets of one flow. It has one per flow, bounded state, and never raises."""

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Look at the flow's next packet with payload, in either direction; `now` (s) rises.

        None: it goes on looking. Otherwise it is done; without a fact it has given up.
        """
        ...
