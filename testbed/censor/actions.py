"""Define the actions that a rule may take on packets, as data; `effects` carries them out."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

_FORBID_UNKNOWN_KEYS = {"extra": "forbid"}
By = Literal["2-tuple", "3-tuple", "4-tuple", "server", "server-address"]
"""The key under which a list remembers a flow, besides the protocol: client and server address;
these and the server's port; both addresses and ports; the server's address and port; the server's
address alone. The *server* is the destination of a flow's first packet."""


@dataclass(frozen=True)
class Pass:
    """Let packets pass."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS
    kind: Literal["pass"] = "pass"


@dataclass(frozen=True)
class Drop:
    """Drop each packet, or each independently with a probability."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS
    probability: float = 1.0
    kind: Literal["drop"] = "drop"

    def __post_init__(self) -> None:
        _check_share("probability", self.probability)


@dataclass(frozen=True)
class Capacity:
    """Let a share of packets pass: a "protocol capacity" from 0 to 100 percent."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS
    capacity: float
    kind: Literal["capacity"] = "capacity"

    def __post_init__(self) -> None:
        _check_share("capacity", self.capacity, 100)


@dataclass(frozen=True)
class Burst:
    """Drop in bursts: each direction of a flow has a state that passes and one that drops all.

    This is Gilbert's model (Bell System Technical Journal 39, 1960), without errors in the good
    state.
    """

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS
    loss: float
    """The share of packets dropped in the long run."""
    mean_burst_packets: float
    """The mean number of packets dropped in a row, at least 1."""
    kind: Literal["burst"] = "burst"

    def __post_init__(self) -> None:
        _check_share("loss", self.loss)
        if self.mean_burst_packets < max(1.0, self.loss / (1 - min(self.loss, 0.999999))):
            raise ValueError("mean_burst_packets: must be at least 1 and loss / (1 - loss)")


@dataclass(frozen=True)
class Police:
    """Drop packets beyond a rate: a token bucket per direction, without a queue."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS
    rate_bps: float
    """The rate in bit/s, including IP headers."""
    burst_bytes: float
    per: Literal["flow", "client"] = "flow"
    """Whether each flow or each client address has its own bucket."""
    kind: Literal["police"] = "police"

    def __post_init__(self) -> None:
        if self.rate_bps <= 0 or self.burst_bytes <= 0:
            raise ValueError("rate_bps and burst_bytes: both must be more than 0")


@dataclass(frozen=True)
class Shape:
    """Queue packets beyond a rate, and drop those that do not fit into the queue."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS
    rate_bps: float
    """The rate in bit/s, including IP headers."""
    queue_bytes: float
    """The size of the queue, including a packet that arrives and the unsent part of those before
    it."""
    per: Literal["flow", "client"] = "flow"
    """Whether each flow or each client address has its own queue."""
    kind: Literal["shape"] = "shape"

    def __post_init__(self) -> None:
        if self.rate_bps <= 0 or self.queue_bytes <= 0:
            raise ValueError("rate_bps and queue_bytes: both must be more than 0")


@dataclass(frozen=True)
class Delay:
    """Hold each packet; packets in one direction of a flow keep their order."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS
    delay_ms: float
    jitter_ms: float = 0.0
    """The delay varies uniformly by plus or minus this much."""
    kind: Literal["delay"] = "delay"

    def __post_init__(self) -> None:
        if not 0 <= self.jitter_ms <= self.delay_ms:
            raise ValueError("delay_ms, jitter_ms: 0 <= jitter_ms <= delay_ms must hold")


@dataclass(frozen=True)
class Reorder:
    """Hold each packet with a probability, so that later ones overtake it."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS
    probability: float
    delay_ms: float
    kind: Literal["reorder"] = "reorder"

    def __post_init__(self) -> None:
        _check_share("probability", self.probability)
        if self.delay_ms <= 0:
            raise ValueError("delay_ms: must be more than 0")


@dataclass(frozen=True)
class Duplicate:
    """Send each packet twice with a probability."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS
    probability: float = 1.0
    kind: Literal["duplicate"] = "duplicate"

    def __post_init__(self) -> None:
        _check_share("probability", self.probability)


@dataclass(frozen=True)
class Freeze:
    """Let the beginning of a flow pass, then silently drop all that the rule matches, for good."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS
    after_bytes: int | None = None
    """How many bytes pass, including IP headers; None: packets are counted."""
    after_packets: int | None = None
    """How many packets pass; None: bytes are counted."""
    spread: int = 0
    """A random number up to this is added to the limit, drawn for each flow."""
    counts: Literal["up", "down", "both"] = "both"
    """The direction that is counted, from when the rule first holds for the flow."""
    kind: Literal["freeze"] = "freeze"

    def __post_init__(self) -> None:
        if (self.after_bytes is None) == (self.after_packets is None):
            raise ValueError("after_bytes, after_packets: one of them must be given")
        if min(self.after_bytes or 0, self.after_packets or 0, self.spread) < 0:
            raise ValueError("after_bytes, after_packets, spread: must not be less than 0")


@dataclass(frozen=True)
class Reset:
    """End a TCP connection with forged segments; other protocols pass."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS
    flag: Literal["rst", "fin"] = "rst"
    how: Literal["inject", "rewrite"] = "inject"
    """Inject a segment to each end for each packet, or rewrite each packet into one, without its
    payload."""
    packet: Literal["drop", "pass"] = "drop"
    """What happens to the packet that triggers an injection."""
    kind: Literal["reset"] = "reset"


Reply = Literal["echo-reply", "no-route", "host-unreachable", "port-unreachable", "prohibited"]
"""The ICMP message: an echo reply, or "destination unreachable" with a reason."""


@dataclass(frozen=True)
class Answer:
    """Answer each packet by ICMP as if from its destination, so that the middlebox stays hidden.

    An echo reply answers only echo requests; ICMP errors and fragments after the first are never
    answered (RFC 1122, 3.2.2). Packets that are not answered pass.
    """

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS
    reply: Reply
    packet: Literal["drop", "pass"] = "drop"
    """What happens to the packet that is answered."""
    kind: Literal["answer"] = "answer"


@dataclass(frozen=True)
class List:
    """Put a flow on a list, once; rules that match `listed` decide what happens to listed flows."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS
    list: str
    """The list's name."""
    by: By
    for_s: float | None = None
    """How long an entry stays on the list, from the packet that triggered it; None: for the rest of
    the run."""
    restarts: bool = False
    """True: each further flow that a rule hits because of the list restarts that time."""
    cycle_min_s: float = 0.0
    cycle_max_s: float = 0.0
    """The list is updated in cycles, whose lengths are drawn between these. The first one begins at
    the time origin (`Censor.begin`), which is the dialling of a cell's call. An entry takes effect
    at the next update; 0: at once."""
    delay_median_s: float | None = None
    delay_p95_s: float | None = None
    delay_max_s: float | None = None
    """An entry takes effect after a delay, drawn for each entry from the log-normal distribution
    with this median and this 95th percentile, truncated at the maximum; None: at once."""
    packet: Literal["drop", "pass"] = "pass"
    """What happens to the packet that triggered the entry."""
    kind: Literal["list"] = "list"

    def __post_init__(self) -> None:
        if self.for_s is not None and self.for_s <= 0:
            raise ValueError("for_s: must be more than 0")
        if not 0 <= self.cycle_min_s <= self.cycle_max_s:
            raise ValueError("cycle_min_s, cycle_max_s: 0 <= cycle_min_s <= cycle_max_s must hold")
        self._check_delay()

    def _check_delay(self) -> None:
        names = "delay_median_s, delay_p95_s, delay_max_s"
        given = [self.delay_median_s, self.delay_p95_s, self.delay_max_s]
        delays = [each for each in given if each is not None]
        if len(delays) not in (0, len(given)):
            raise ValueError(f"{names}: all of them or none must be given")
        if delays and self.cycle_max_s:
            raise ValueError(f"{names}: a list that is updated in cycles has no other delay")
        if delays and (delays[0] <= 0 or delays != sorted(delays)):
            raise ValueError(f"{names}: each must be more than 0 and at least the one before")


Action = (
    Pass
    | Drop
    | Capacity
    | Burst
    | Police
    | Shape
    | Delay
    | Reorder
    | Duplicate
    | Freeze
    | Reset
    | Answer
    | List
)


def action_numbers(action: Action) -> list[str]:
    """Return the names of an action's numbers that have an effect and therefore need evidence.

    Numbers that are None, and those that keep a default of 0, are left out.
    """
    defaults = {f.name: f.default for f in fields(action)}
    values = {name: getattr(action, name) for name in number_types(action)}
    return [
        name
        for name, value in values.items()
        if value is not None and not (value == 0 and defaults[name] == 0)
    ]


def number_types(action: Action) -> dict[str, type[int] | type[float]]:
    """Return the type of each number that an action can have, by name."""
    kinds = {"int": int, "float": float}
    texts = {f.name: str(f.type).removesuffix(" | None") for f in fields(action)}
    return {name: kinds[text] for name, text in texts.items() if text in kinds}


def described(action: Action) -> str:
    """Return an action in words: its kind, and the values that differ from the default."""
    set_to = [
        f"{f.name} {_plain(value)}"
        for f in fields(action)
        if f.name != "kind" and (value := getattr(action, f.name)) != f.default
    ]
    return ", ".join([action.kind, *set_to])


def _plain(value: object) -> object:
    """Return a number as people write it: 24000 instead of 24000.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _check_share(name: str, value: float, whole: int = 1) -> None:
    if not 0 <= value <= whole:
        raise ValueError(f"{name}: {value} is not between 0 and {whole}")
