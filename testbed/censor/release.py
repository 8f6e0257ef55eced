"""Define a release: a packet that leaves the middlebox."""

from __future__ import annotations

from typing import NamedTuple

from testbed.censor.packet import Direction


class Onward(NamedTuple):
    """Where a packet goes on that is inside a stack of censors (`testbed.censor.stack`)."""

    part: int
    """The number of the part that it meets next, from 0."""
    forged: int = 0
    """How many parts forged it, one in answer to another; 0: it came from an end."""


class Release(NamedTuple):
    """A packet that leaves the middlebox."""

    at: float
    """When it leaves (s), never before the packet that caused it arrived."""
    data: bytes
    """The packet from the IP header on; the same object that arrived if nothing was changed."""
    direction: Direction
    """The direction in which it leaves."""
    settled: bool = False
    """True: all later packets of this flow would pass at once, in both directions.

    Only TCP and UDP flows with known ports can be settled, and ICMP errors about a flow are not
    part of it.
    """
    onward: Onward | None = None
    """Set if the packet has not left a stack of censors: the part that it meets at `at`."""
