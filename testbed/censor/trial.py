"""Describe how a calibration tries an action: what is sent, how it fared, and what that shows.

An action's file says with these which traffic reveals the action, whether packets were treated as
it promises, and how its numbers are measured. All of it is data and pure functions of data;
`testbed.tools.calibration` sends the packets across a real middlebox.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

SMALL, LARGE = 20, 1400
"""Payload sizes (bytes), both outside the range of voice packets."""
HEADER_BYTES: Mapping[str, int] = {"udp": 28, "tcp": 40, "icmp": 28}
"""The size of the IPv4 header and the transport header together, by protocol."""
LATE_S = 2e-3
"""A packet that takes longer than this across the middlebox was delayed by it."""
RESOLUTION_S = 5e-4
"""How long a middlebox may hold a packet beyond the requested delay."""

Harm = Literal["lost", "late", "twice"]
"""What may happen to a packet."""


class Load(NamedTuple):
    """Packets that reveal an action."""

    packets: int
    """The number of packets in each direction."""
    payload_bytes: int = SMALL
    gap_s: float = 1e-3


class Next(NamedTuple):
    """A packet that is sent after the one before."""

    payload_bytes: int
    up: bool
    after_s: float = 1e-3


class Fared(NamedTuple):
    """A packet, and how it fared."""

    at_s: float
    """When it was sent."""
    up: bool
    size_bytes: int
    """The size of the packet with its IP header."""
    delays_s: Sequence[float] = ()
    """Its delay, for each time that it arrived."""

    @property
    def met(self) -> set[Harm]:
        """Return what happened to it; nothing if it arrived once and in time."""
        harms: dict[Harm, bool] = {
            "lost": not self.delays_s,
            "late": any(delay_s > LATE_S for delay_s in self.delays_s),
            "twice": len(self.delays_s) > 1,
        }
        return {harm for harm, is_met in harms.items() if is_met}

    @property
    def passed(self) -> bool:
        """Return whether it arrived."""
        return bool(self.delays_s)

    @property
    def arrived_s(self) -> float:
        """Return when it first arrived; only if it did."""
        return self.at_s + self.delays_s[0]


class Forged(NamedTuple):
    """A packet that the middlebox forged."""

    up: bool
    flags: int
    """The TCP flags, or ICMP's type and code in one byte each."""


@dataclass(frozen=True)
class Sample:
    """The packets of one flow about which a rule decided, in the order in which they were sent."""

    protocol: str
    client_up: bool
    """Whether the client's packets go up."""
    packets: Sequence[Fared]
    ready_s: float = 0.0
    """When the flow's opening was complete."""
    forged: Sequence[Forged] = ()
    """What the middlebox forged for the flow."""
    unsure: Sequence[Fared] = ()
    """Packets of the flow about which the rule may have decided, too."""

    @property
    def directions(self) -> list[bool]:
        """Return the directions that have packets, up (True) first."""
        return [up for up in (True, False) if self.of(up=up)]

    def of(self, *, up: bool) -> list[Fared]:
        """Return the packets of a direction."""
        return [each for each in self.packets if each.up is up]

    @property
    def after_opening(self) -> list[Fared]:
        """Return the packets after the opening."""
        return [each for each in self.packets if each.at_s >= self.ready_s]

    def unsure_bytes(self, *, up: bool) -> int:
        """Return how many bytes of a direction the rule may have decided about, too."""
        return sum(each.size_bytes for each in self.unsure if each.up is up)


class Measured(NamedTuple):
    """What a sample says about a number of an action."""

    number: str
    """The number's name, followed by the direction if each direction has its own."""
    value: float | None
    """None if it could not be measured; `how` then says why."""
    low: float = float("-inf")
    high: float = float("inf")
    """The end of the interval (from `low`) of values that agree with the sample."""
    n: int = 0
    how: str = ""


class Compared(NamedTuple):
    """Whether a flow was treated as it should be."""

    what: str
    expected: str
    ok: bool
    seen: str


@dataclass(frozen=True)
class Second:
    """A second flow of the last flow's client, which begins when all else was sent."""

    load: Load
    judge: Callable[[Sample], Compared | None]


@dataclass(frozen=True)
class Series:
    """One experiment for numbers of an action: what is sent under the rule, and what it shows."""

    name: str
    judge: Callable[[Sequence[Sample]], Iterable[Measured | Compared]]
    """Judge the flows about which the rule decided; there may be none."""
    load: Load | None = None
    """What each flow sends, in both directions; None: `steps`, or nothing."""
    is_shared: bool = False
    """The flows share the load's packets, and send them with pauses."""
    steps: Callable[[int, Sample], Iterable[Next]] | None = None
    """What a flow sends, by its number (from 0) and what it has sent so far."""
    flows: int = 1
    """How many flows; if the rule affects only a share of flows, how many times as many."""
    second: Second | None = None
    wait_s: float = 0.5
    """How long to wait after the last packet."""


def way_name(up: bool) -> str:
    """Return the name of a direction."""
    return "up" if up else "down"
