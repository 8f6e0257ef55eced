"""Detectors, one file each: state a fact about a flow, never decide about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from testbed.censor.detectors.stun import Stun
from testbed.censor.packet import Packet

Label = str
"""A fact about a flow, by the name that a profile's `match.label` uses."""


class Detector(Protocol):
    """Looks at the packets of one flow. It has one per flow, bounded state, and never raises."""

    def feed(self, packet: Packet, now: float) -> bool:
        """Look at the flow's next packet; True states the fact, and the detector is done."""
        ...


DETECTORS: Mapping[Label, tuple[str, Callable[[], Detector]]] = {"stun": ("udp", Stun)}
"""By label: the protocol whose flows are looked at, and the detector."""
