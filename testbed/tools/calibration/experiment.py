"""What is sent across a box and what arrives, as plain data: all that a guest needs to know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from testbed.censor import local_time as time_of_day
from testbed.censor.profile import Profile
from testbed.experiment.cell import Link

INSIDE = "100.64.0.0/10"
"""Addresses inside the country (RFC 6598, the space of providers' NATs); all others are outside."""
PAUSE_S = 0.2
"""In a pause of this length the guest hands over what comes next. It takes time from the box, so
what is timed is better not going on meanwhile."""
MAX_PACKETS = 0xFFFF
"""Packets of an experiment: their numbers, from 1 on, are their IPv4 identification."""


class Sent(NamedTuple):
    """A packet that is sent across the box."""

    at_s: float
    """When it leaves its end, since the experiment's beginning."""
    up: bool
    """From inside to outside."""
    data: bytes
    """From the IP header on; its identification is its number."""


class Arrived(NamedTuple):
    """A packet that came out at the other side of the box."""

    number: int
    """Which of the packets that were sent; 0: the box made it up."""
    at_s: float
    """Since the experiment's beginning, by the kernel's time stamp."""
    up: bool
    flags: int = 0
    """Of a packet that the box made up: TCP's flags, or ICMP's type and code in a byte each; and
    the addresses in hexadecimal."""
    source: str = ""
    destination: str = ""


@dataclass(frozen=True)
class Experiment:
    """Packets across one box, which exists from the beginning of the experiment to its end."""

    name: str
    packets: tuple[Sent, ...]
    """In the order of their numbers, from 1 on."""
    until_s: float
    """When the last may have arrived."""
    local_time: str = time_of_day.DEFAULT
    """The time of day as it begins."""


@dataclass(frozen=True)
class Task:
    """What one guest does: experiments with one profile, each with a box of its own."""

    profile: Profile
    lists: Mapping[str, Sequence[str]]
    """The lab's address lists, by the names that profiles use."""
    experiments: tuple[Experiment, ...]


@dataclass(frozen=True)
class LinkTask:
    """What one guest does to a link: packets across it alone, both ways."""

    link: Link
    experiments: tuple[Experiment, ...]


TASK_FILE, ARRIVALS_FILE = "task.pickle", "arrivals.json"
"""In a job's folder: a pickled `Task` or `LinkTask`; what the guest leaves: for each experiment in
turn its `Arrived`, as lists."""
