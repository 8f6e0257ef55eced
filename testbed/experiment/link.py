"""Define a link: what happens to packets on it in each direction, and how that changes in a call.

The keys of a link hold for both of its directions, except where `up` or `down` has a value of its
own. Up is away from the person who calls or is called: from a home to its provider, from a provider
to a server, from a middlebox to the outside. `changes` replace values from a time on.

Two parts of the lab make a link. The kernel's netem always gives delay, jitter and loss. It also
gives rate and queue, if the queue is counted in packets and the rate stays the same. Otherwise, or
if the link follows a trace, a program of the lab holds each packet until it would have been sent
(`testbed.lab.bottleneck`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Literal

from testbed.censor.packet import Direction
from testbed.experiment.nat import Nat
from testbed.experiment.trace import Trace

_FORBID_UNKNOWN_KEYS = {"extra": "forbid"}
_MAX_MEAN_JITTER_MS = 800
"""The longest mean for which netem, which counts nanoseconds in 32 bits, has the whole tail."""
MIN_MTU_BYTES = 576
"""What every IPv4 host accepts (RFC 791, 3.1)."""
ETHERNET_MTU_BYTES = 1500
ETHERNET_HEADER_BYTES = 14
"""What rates and queues count in addition to each IP packet, as netem does."""

DEFAULT_RATE_MBPS = 1000.0
"""A rate at which nothing waits."""

Neighbour = Literal["none", "upload", "video"]
"""Other use of a line, by TCP: an upload as fast as it goes, or a video stream of 5 Mbit/s, which
fetches 4 s at once (Netflix recommends 5 Mbit/s for 1080p; 4 s are usual in DASH)."""
JitterKind = Literal["uniform", "exponential"]


@dataclass(frozen=True)
class GilbertElliott:
    """Loss in bursts: a link is in a good or a bad state, and may change it at each packet.

    Source: Gilbert, Capacity of a Burst-Noise Channel, 1960; Elliott, Estimates of Error Rates for
    Codes on Burst-Noise Channels, 1963. By default all packets in the bad state are lost, and none
    in the good one.
    """

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    to_bad: float
    """The probability of a change from the good to the bad state, at each packet."""
    to_good: float
    """The probability of a change back; by default, bursts have 1 / `to_good` packets on average.
    """
    loss_bad: float = 1.0
    """The share of packets lost in the bad state."""
    loss_good: float = 0.0
    """The share of packets lost in the good state."""

    def __post_init__(self) -> None:
        if not (0 < self.to_bad <= 1 and 0 < self.to_good <= 1):
            raise ValueError("to_bad, to_good: probabilities above 0 and up to 1 are expected")
        if not 0 <= self.loss_good < self.loss_bad <= 1:
            raise ValueError("0 <= loss_good < loss_bad <= 1 must hold")

    @property
    def bad_share(self) -> float:
        """The share of packets that are sent in the bad state."""
        return self.to_bad / (self.to_bad + self.to_good)

    @property
    def share(self) -> float:
        """The share of packets that are lost."""
        return self.bad_share * self.loss_bad + (1 - self.bad_share) * self.loss_good

    @property
    def mean_run(self) -> float:
        """The mean number of packets that are lost one after another."""
        bad, good = self.bad_share * self.loss_bad, (1 - self.bad_share) * self.loss_good
        next_bad = (1 - self.to_good) * self.loss_bad + self.to_good * self.loss_good
        next_good = (1 - self.to_bad) * self.loss_good + self.to_bad * self.loss_bad
        both = bad * next_bad + good * next_good
        return (bad + good) / (bad + good - both)


@dataclass(frozen=True)
class LinkDirection:
    """What happens to packets in one direction of a link."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    delay_ms: float = 0.0
    """The one-way delay."""
    jitter_ms: float = 0.0
    """How much the delay varies (see `jitter_kind`); packets keep their order, as on a single path.
    """
    loss: float | GilbertElliott = 0.0
    """The share of packets lost, independently, or a table: loss in bursts."""
    rate_mbps: float = DEFAULT_RATE_MBPS
    """The rate, which counts Ethernet frames: IP packets and 14 bytes more."""
    queue_packets: int = 1000
    """How many packets the link holds, including those on their way; more are lost."""
    queue_bytes: int | None = None
    """How many bytes of Ethernet frames wait to be sent or are being sent, instead of
    `queue_packets`. What is on its way does not count."""
    jitter_kind: JitterKind = "uniform"
    """`uniform`: `delay_ms` plus or minus up to `jitter_ms`. `exponential`: `delay_ms` is the least
    delay, to which a random time with the mean `jitter_ms` is added."""
    trace: Trace | None = None
    """What says when packets are sent, instead of a rate: a trace of a mobile link. Its queue in
    bytes counts IP packets and 4 bytes more, as the trace does."""

    def __post_init__(self) -> None:
        if isinstance(self.loss, float | int) and not 0 <= self.loss < 1:
            raise ValueError(f"loss: {self.loss} is not a share (0 to below 1)")
        self._check_times()
        if self.rate_mbps <= 0 or self.queue_packets <= 0:
            raise ValueError("rate_mbps, queue_packets: must be more than 0")
        least = ETHERNET_MTU_BYTES + ETHERNET_HEADER_BYTES
        if self.trace is not None and self.rate_mbps != DEFAULT_RATE_MBPS:
            raise ValueError("trace, rate_mbps: a trace is the rate; leave one out")
        if self.queue_bytes is not None and self.queue_bytes < least:
            raise ValueError(f"queue_bytes: at least {least}, or large packets never get through")

    def _check_times(self) -> None:
        if self.delay_ms < 0 or self.jitter_ms < 0:
            raise ValueError("delay_ms, jitter_ms: 0 <= jitter_ms <= delay_ms must hold")
        if self.jitter_kind == "uniform" and self.jitter_ms > self.delay_ms:
            raise ValueError(
                "delay_ms, jitter_ms: 0 <= jitter_ms <= delay_ms must hold; jitter_kind = "
                '"exponential" has no such limit'
            )
        if self.jitter_kind == "exponential" and self.jitter_ms > _MAX_MEAN_JITTER_MS:
            raise ValueError(f"jitter_ms: at most {_MAX_MEAN_JITTER_MS} with exponential jitter")

    @property
    def loss_share(self) -> float:
        """The share of packets that are lost."""
        return self.loss.share if isinstance(self.loss, GilbertElliott) else self.loss


@dataclass(frozen=True)
class Override:
    """The values that a direction of a link has instead of the link's own; see `LinkDirection`."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    delay_ms: float | None = None
    jitter_ms: float | None = None
    loss: float | GilbertElliott | None = None
    rate_mbps: float | None = None
    queue_packets: int | None = None
    queue_bytes: int | None = None
    jitter_kind: JitterKind | None = None
    trace: Trace | None = None

    def over(self, direction: LinkDirection) -> LinkDirection:
        """Return a direction with these values."""
        own = ((f.name, getattr(self, f.name)) for f in fields(LinkDirection))
        return replace(direction, **{name: value for name, value in own if value is not None})


@dataclass(frozen=True)
class Change(Override):
    """Values that a link has from some time of a call on, instead of earlier ones."""

    at_s: float = field(kw_only=True)
    """When they begin to hold, since dialling."""
    gap_s: float = field(default=0.0, kw_only=True)
    """How long before that all packets are lost that enter the link, as in a hand-over."""
    up: Override | None = field(default=None, kw_only=True)
    down: Override | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not 0 <= self.gap_s <= self.at_s:
            raise ValueError("at_s, gap_s: 0 <= gap_s <= at_s must hold")


@dataclass(frozen=True)
class Link(LinkDirection):
    """One link; its own values hold for both directions."""

    up: Override | None = None
    """What differs in the direction away from a person."""
    down: Override | None = None
    """What differs in the other direction."""
    mtu_bytes: int = ETHERNET_MTU_BYTES
    """The largest IP packet."""
    too_big: Literal["reported", "lost"] = "reported"
    """What a sender of larger packets, which must not be fragmented, hears: an ICMP error, or
    nothing, as behind many firewalls (RFC 2923, 2.1)."""
    changes: tuple[Change, ...] = ()
    """How the link changes during a call, in the order of time."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not MIN_MTU_BYTES <= self.mtu_bytes <= ETHERNET_MTU_BYTES:
            raise ValueError(f"mtu_bytes: {MIN_MTU_BYTES} to {ETHERNET_MTU_BYTES} are possible")
        begins = [change.at_s - change.gap_s for change in self.changes]
        ends = [0.0, *(change.at_s for change in self.changes)]
        if any(begin < end for begin, end in zip(begins, ends, strict=False)):
            raise ValueError("changes: each must begin, with its gap, after the one before it")
        for each in Direction:
            begin = self.direction(each)
            for _, now in self.phases(each):
                if (now.jitter_kind, now.trace) != (begin.jitter_kind, begin.trace):
                    raise ValueError(
                        "changes: jitter_kind stays the same during a call, and so does a trace"
                    )

    def direction(self, direction: Direction) -> LinkDirection:
        """Return a direction as it is when a call begins."""
        shared = LinkDirection(**{f.name: getattr(self, f.name) for f in fields(LinkDirection)})
        return _overridden(shared, getattr(self, direction.value))

    def phases(self, direction: Direction) -> Iterator[tuple[Change, LinkDirection]]:
        """Yield each change, with the whole direction as it is from then on."""
        now = self.direction(direction)
        for change in self.changes:
            now = _overridden(change.over(now), getattr(change, direction.value))
            yield change, now


def _overridden(direction: LinkDirection, override: Override | None) -> LinkDirection:
    return direction if override is None else override.over(direction)


@dataclass(frozen=True)
class Links:
    """The links of a topology (see `testbed.lab.net.topology`)."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    source: str
    """Where the numbers come from."""
    access: Link = field(default_factory=Link)
    """The caller's home to its provider."""
    domestic: Link = field(default_factory=Link)
    """A provider to a server inside the country."""
    backbone: Link = field(default_factory=Link)
    """A middlebox to the outside."""
    hosting: Link = field(default_factory=Link)
    """The outside core to a server there (bridge, relay)."""
    callee_access: Link = field(default_factory=Link)
    """The callee's home to its provider: the outside core, or one inside."""
    caller_nat: Nat | None = field(default=None, kw_only=True)
    """What translates the caller's addresses; None: nothing does."""
    callee_nat: Nat | None = field(default=None, kw_only=True)
    """The same for the callee. Only inside the country is there a carrier's node."""
    neighbour: Neighbour = field(default="none", kw_only=True)
    """What somebody else at the caller's home does all the time of a call."""
    name: str = field(default="", kw_only=True)
    """Distinguishes cells that differ in their links; empty if a scenario has only one set."""

    @property
    def all(self) -> dict[str, Link]:
        """The links by the names of their fields."""
        values = ((each.name, getattr(self, each.name)) for each in fields(self))
        return {name: value for name, value in values if isinstance(value, Link)}

    def with_all(self, links: Mapping[str, Link]) -> Links:
        """Return these links with others by the names of their fields."""
        return replace(
            self,
            access=links["access"],
            domestic=links["domestic"],
            backbone=links["backbone"],
            hosting=links["hosting"],
            callee_access=links["callee_access"],
        )
