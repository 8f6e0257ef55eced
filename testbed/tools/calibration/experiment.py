"""The packets that are sent across a middlebox and those that arrive, as plain data for a guest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from testbed.censor import local_time as time_of_day
from testbed.censor.packet import Direction
from testbed.censor.profile import Profile
from testbed.experiment.link import Link
from testbed.experiment.trace import Course, Trace

INSIDE = "100.64.0.0/10"
"""Addresses inside the country (RFC 6598, shared address space); all others are outside."""
PAUSE_S = 0.2
"""The guest hands the next packets to the kernel in pauses of this length. That takes time from the
middlebox, so nothing that is timed should happen meanwhile."""
MAX_PACKETS = 0xFFFF
"""The most packets of an experiment: a packet's number, from 1, is its 16-bit IPv4 identification.
"""


class Sent(NamedTuple):
    """A packet that is sent across the middlebox."""

    at_s: float
    """When it leaves its sender, since the experiment's beginning."""
    up: bool
    """Whether it goes from inside to outside."""
    data: bytes
    """The packet from its IP header on; its IPv4 identification is its number."""


class Arrived(NamedTuple):
    """A packet that left the middlebox."""

    number: int
    """The number of the packet that was sent; 0 if the middlebox forged it."""
    at_s: float
    """When it arrived, since the experiment's beginning, by the kernel's time stamp."""
    up: bool
    flags: int = 0
    """Of a forged packet: the TCP flags, or ICMP's type and code in one byte each. The addresses
    are in hexadecimal."""
    source: str = ""
    destination: str = ""


@dataclass(frozen=True)
class Experiment:
    """Packets across one middlebox, which exists only for the duration of the experiment."""

    name: str
    packets: tuple[Sent, ...]
    """The packets in the order of their numbers, from 1 on."""
    until_s: float
    """When the last packet has certainly arrived, if it does at all."""
    local_time: str = time_of_day.DEFAULT
    """The time of day at its beginning."""


@dataclass(frozen=True)
class Task:
    """The work of one guest: experiments with one profile, each with a middlebox of its own."""

    profile: Profile
    lists: Mapping[str, Sequence[str]]
    """The lab's address lists, by the names that profiles use."""
    experiments: tuple[Experiment, ...]


@dataclass(frozen=True)
class LinkTask:
    """The work of one guest on a link: packets across that link alone, in both directions."""

    link: Link
    experiments: tuple[Experiment, ...]
    courses: Mapping[tuple[Trace, Direction], Course] = field(default_factory=dict)
    """The courses of the traces that it follows."""


TASK_FILE, ARRIVALS_FILE = "task.pickle", "arrivals.json"
"""Files in a job's folder: a pickled `Task` or `LinkTask`; and what the guest leaves: for each
experiment in turn, its `Arrived` packets as lists."""
