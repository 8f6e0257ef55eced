"""Describe when a link delivers packets: a trace in the format of mahimahi, and where it is from.

Each line of such a file is a time in whole milliseconds since the trace's beginning, at which the
link can deliver 1504 bytes; a time that is there twice can deliver twice as much. What a packet
needs beyond the rest of one opportunity comes from the next; what no packet is there to use is
lost. A trace that is repeated begins again at its last time.

Source: mahimahi's `src/frontend/link_queue.cc` and `traces/README` (github.com/ravinet/mahimahi);
Netravali et al., Mahimahi: Accurate Record-and-Replay for HTTP, USENIX ATC 2015.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

OPPORTUNITY_BYTES = 1504
"""What a link delivers at each time of a trace."""
EXTRA_BYTES = 4
"""What a packet counts in addition to its IP packet, so that 1500 bytes fill an opportunity: the
header of the TUN device by which mahimahi gets it."""
_LINE = re.compile(r"[0-9]{1,9}")
_LINES = re.compile(rf"(?:{_LINE.pattern}\n)*{_LINE.pattern}\n?")


@dataclass(frozen=True)
class Trace:
    """Which trace a link follows, and from where on."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - read by pydantic

    file: str
    """A model in `scenarios/traces/` by its name, or a file in mahimahi's format by its path,
    without `.up` and `.down` if there is one for each direction."""
    loops: bool = True
    """Whether it begins again at its end; otherwise nothing is delivered from then on."""
    offset_s: float | Literal["seed"] = "seed"
    """Where in the trace dialling is; `seed`: at any whole millisecond, drawn by the call's seed,
    the same in both directions."""
    sha256: str = ""
    """The hash of what is read from the file or the model; filled in when it is read."""

    def __post_init__(self) -> None:
        if isinstance(self.offset_s, float | int) and self.offset_s < 0:
            raise ValueError("offset_s: 0 or more is expected")


class Course(NamedTuple):
    """When a direction of a link delivers packets."""

    times_ms: Sequence[int]
    """The time of each opportunity, in order; an `array`, since there are many."""

    @property
    def length_ms(self) -> int:
        """The length of the trace, after which it begins again."""
        return self.times_ms[-1]

    @property
    def mean_mbps(self) -> float:
        """The mean rate."""
        return len(self.times_ms) * OPPORTUNITY_BYTES * 8 / self.length_ms / 1e3

    def number_after(self, at_ms: float) -> int:
        """Return how many opportunities a repeated trace has up to a time, and at that time."""
        rounds = int(at_ms // self.length_ms)
        rest_ms = at_ms - rounds * self.length_ms
        return rounds * len(self.times_ms) + bisect_right(self.times_ms, rest_ms)

    def time_ms(self, number: int) -> int:
        """Return when a repeated trace has an opportunity with a number, from 0 on (ms)."""
        rounds, number = divmod(number, len(self.times_ms))
        return rounds * self.length_ms + self.times_ms[number]


def parse_trace(text: str) -> Course:
    """Parse a trace in the format of mahimahi.

    Raises:
        ValueError: It is none; the message says which line is wrong.
    """
    if not _LINES.fullmatch(text):
        lines = text.removesuffix("\n").split("\n")
        number, wrong = next((n, s) for n, s in enumerate(lines, 1) if not _LINE.fullmatch(s))
        raise ValueError(f"line {number} is {wrong[:20]!r}, expected a time in whole milliseconds")
    return course_of([int(line) for line in text.split()])


def course_of(times_ms: Sequence[int]) -> Course:
    """Return the course with opportunities at these times.

    Raises:
        ValueError: There is none, a time is before the one that it follows, or all are 0.
    """
    if not times_ms or times_ms[-1] == 0:
        raise ValueError("a trace must last for more than 0 ms")
    for number, (before, after) in enumerate(pairwise(times_ms), 2):
        if after < before:
            raise ValueError(f"line {number} is {after}, which is before {before}, the line above")
    return Course(array("I", times_ms))
