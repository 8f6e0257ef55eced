"""What a fit says: findings with their numbers, and what cannot be known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal

from testbed.analysis.statistics import Estimate

Kind = Literal[
    "drop",
    "burst",
    "police",
    "shape",
    "freeze",
    "silence",
    "reorder",
    "duplicate",
    "jitter",
    "delay",
    "reset",
    "answer",
    "list",
    "sized",
    "periodic",
]
"""What was done; most are actions of a profile. A silence is a direction of which nothing, or
nothing more, arrives."""
Way = Literal["up", "down", "both"]
Attribution = Literal["beyond the control", "as in the control", "beyond other flows", "no control"]


@dataclass(frozen=True)
class Number:
    """A number with its 95 % interval."""

    name: str
    """As in a profile's action, such as `rate_bps`."""
    estimate: Estimate
    how: str
    """How it was found, and what the interval means."""


@dataclass(frozen=True)
class Unknown:
    """A number that this capture cannot show."""

    name: str
    why: str


@dataclass(frozen=True)
class Finding:
    """Something that was done to a flow in a direction."""

    kind: Kind
    flow: int
    """The flow's number in the capture."""
    direction: Way
    numbers: Sequence[Number]
    affected: int
    """How many packets it affected: were lost, held, or came twice."""
    of: int
    """How many packets were looked at."""
    basis: str
    """What the finding rests on."""
    unknown: Sequence[Unknown] = ()
    attribution: Attribution = "no control"
    after_s: Estimate | None = None
    """When it began, since the flow's first packet; None: from the beginning, as far as known."""
    after_packets: Estimate | None = None
    after_bytes: Estimate | None = None
    """Bytes of IP packets of this direction before it."""
    trigger: str = ""
    """What came last before it (`triggers`); empty if it began with the flow."""
    location: str = ""
    """On which part of the path it was done (`localising`); empty if that is not known."""

    def number(self, name: str) -> Number | None:
        """Return a number by its name; None if it was not found."""
        return next((each for each in self.numbers if each.name == name), None)


def plain(value: float) -> str:
    """Return a number with four significant digits and without an exponent."""
    if not isfinite(value):
        return "?"
    return f"{float(f'{value:.4g}'):,.10g}" if abs(value) < _MOST_PLAIN else f"{value:.4g}"


_MOST_PLAIN = 1e10
_PHRASES = {
    "drop": "packets lost independently of each other",
    "burst": "packets lost in bursts",
    "police": "packets beyond a rate lost, without a queue (policing)",
    "shape": "packets beyond a rate queued (shaping)",
    "freeze": "nothing arrives any more after a beginning that passed",
    "silence": "nothing arrives",
    "reorder": "some packets held, so that later ones overtook them",
    "duplicate": "some packets arrived twice",
    "jitter": "delays that vary",
    "delay": "packets held",
    "reset": "the connection ended by a reset",
    "answer": "packets answered by ICMP errors",
    "list": "later flows to the same server treated alike from their beginning",
    "sized": "losses that depend on the size of packets",
    "periodic": "losses that recur at regular times",
}


def phrase(kind: Kind) -> str:
    """Return what a finding of a kind is, in words."""
    return _PHRASES[kind]


def verdict(finding: Finding) -> str:
    """Return how far a finding may be put down to somebody's intent."""
    if finding.attribution == "no control":
        return "consistent with a restriction, or with a bad line: there is no control"
    if finding.attribution == "as in the control":
        return "the control shows as much, so it is not put down to what was sent"
    if finding.attribution == "beyond other flows":
        return "more than in other flows of this capture, which may take another way"
    return "more than in the control"
