"""What leaves the box for a packet that came; who decides about it lives elsewhere."""

from __future__ import annotations

from typing import NamedTuple

from testbed.censor.packet import Direction


class Release(NamedTuple):
    """A packet that leaves the box."""

    at: float
    """When (s), never before the packet came that was the reason."""
    data: bytes
    """From the IP header on; the very object that came, if nothing was changed."""
    direction: Direction
    """To which side."""
    settled: bool = False
    """True: all later packets of this flow, in both directions, would pass at once.

    Only of flows of TCP and UDP whose ports are known: what is related to them is no part of them.
    """
