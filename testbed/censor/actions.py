"""What a rule may have done to packets, as data; how it is done lives in `effects`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

_FORBID_UNKNOWN_KEYS = {"extra": "forbid"}
By = Literal["2-tuple", "3-tuple", "4-tuple", "server", "server-address"]
"""What a list remembers of a flow, beside the protocol: client and server address; these and the
server's port; all four; the server's address and port; its address. The *server* is the destination
of a flow's first packet."""


@dataclass(frozen=True)
class Pass:
    """Let it pass."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS
    kind: Literal["pass"] = "pass"


@dataclass(frozen=True)
class Drop:
    """Drop each packet, or each with a probability, independently."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS
    probability: float = 1.0
    kind: Literal["drop"] = "drop"

    def __post_init__(self) -> None:
        _check_share("probability", self.probability)


@dataclass(frozen=True)
class Capacity:
    """A "protocol capacity" of 0 to 100: the share in percent of packets that pass."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS
    capacity: float
    kind: Literal["capacity"] = "capacity"

    def __post_init__(self) -> None:
        _check_share("capacity", self.capacity, 100)


@dataclass(frozen=True)
class Burst:
    """Drop in bursts: two states, one passing and one dropping all, for each flow and direction.

    Gilbert's model (Bell System Technical Journal 39, 1960) with no errors in the good state.
    """

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS
    loss: float
    """Share of the packets that is dropped in the long run."""
    mean_burst_packets: float
    """How many packets in a row are dropped on average, at least 1."""
    kind: Literal["burst"] = "burst"

    def __post_init__(self) -> None:
        _check_share("loss", self.loss)
        if self.mean_burst_packets < max(1.0, self.loss / (1 - min(self.loss, 0.999999))):
            raise ValueError("mean_burst_packets: must be at least 1 and loss / (1 - loss)")


@dataclass(frozen=True)
class Police:
    """Drop what exceeds a rate: a token bucket for each flow and direction, no queue."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS
    rate_bps: float
    """Bit/s, counted with the IP header."""
    burst_bytes: float
    per: Literal["flow", "client"] = "flow"
    """Whose packets share a bucket: one for each flow, or for each client's address."""
    kind: Literal["police"] = "police"

    def __post_init__(self) -> None:
        if self.rate_bps <= 0 or self.burst_bytes <= 0:
            raise ValueError("rate_bps and burst_bytes: both must be more than 0")


@dataclass(frozen=True)
class Shape:
    """Queue what exceeds a rate, and drop what does not fit into the queue."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS
    rate_bps: float
    """Bit/s, counted with the IP header."""
    queue_bytes: float
    """What may wait, the packet being sent counted in full."""
    per: Literal["flow", "client"] = "flow"
    """Whose packets share a queue: one for each flow, or for each client's address."""
    kind: Literal["shape"] = "shape"

    def __post_init__(self) -> None:
        if self.rate_bps <= 0 or self.queue_bytes <= 0:
            raise ValueError("rate_bps and queue_bytes: both must be more than 0")


@dataclass(frozen=True)
class Delay:
    """Hold each packet; the packets of a flow's direction keep their order."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS
    delay_ms: float
    jitter_ms: float = 0.0
    """Uniform, plus or minus."""
    kind: Literal["delay"] = "delay"

    def __post_init__(self) -> None:
        if not 0 <= self.jitter_ms <= self.delay_ms:
            raise ValueError("delay_ms, jitter_ms: 0 <= jitter_ms <= delay_ms must hold")


@dataclass(frozen=True)
class Reorder:
    """Hold some packets, each with a probability, so that later ones overtake them."""

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
    """Send some packets, each with a probability, once more at once."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS
    probability: float = 1.0
    kind: Literal["duplicate"] = "duplicate"

    def __post_init__(self) -> None:
        _check_share("probability", self.probability)


@dataclass(frozen=True)
class Freeze:
    """Let a flow's beginning pass, then drop all that the rule is for, silently and for good."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS
    after_bytes: int | None = None
    """So many bytes pass, counted with the IP header; None: packets are counted."""
    after_packets: int | None = None
    """So many packets pass; None: bytes are counted."""
    spread: int = 0
    """Up to so many more, of what is counted; drawn for each flow."""
    counts: Literal["up", "down", "both"] = "both"
    """Of which direction, from when the rule first holds for the flow."""
    kind: Literal["freeze"] = "freeze"

    def __post_init__(self) -> None:
        if (self.after_bytes is None) == (self.after_packets is None):
            raise ValueError("after_bytes, after_packets: one of them must be given")
        if min(self.after_bytes or 0, self.after_packets or 0, self.spread) < 0:
            raise ValueError("after_bytes, after_packets, spread: must not be less than 0")


@dataclass(frozen=True)
class Reset:
    """End a TCP connection by segments that neither end has sent; other protocols pass."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS
    flag: Literal["rst", "fin"] = "rst"
    how: Literal["inject", "rewrite"] = "inject"
    """Send one to each end for each packet, or turn each packet into one, without its payload."""
    packet: Literal["drop", "pass"] = "drop"
    """What becomes of the packets themselves, if one is injected."""
    kind: Literal["reset"] = "reset"


Reply = Literal["echo-reply", "no-route", "host-unreachable", "port-unreachable", "prohibited"]
"""What ICMP says: the answer to an echo request, or "destination unreachable" for a reason."""


@dataclass(frozen=True)
class Answer:
    """Answer each packet by ICMP, as if from its destination, so that the box stays unseen.

    An echo reply answers echo requests alone; nothing answers an ICMP error or a fragment after
    the first (RFC 1122, 3.2.2). What is not answered passes.
    """

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS
    reply: Reply
    packet: Literal["drop", "pass"] = "drop"
    """What becomes of the packet that is answered."""
    kind: Literal["answer"] = "answer"


@dataclass(frozen=True)
class List:
    """Put a flow on a list, once; what is done to listed flows is for rules that match `listed`."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS
    list: str
    """The list's name."""
    by: By
    for_s: float | None = None
    """How long it stays on the list from the packet on that was the reason; None: for the rest of
    the run."""
    restarts: bool = False
    """True: each further flow that a rule hits because of the list begins that time anew."""
    cycle_min_s: float = 0.0
    cycle_max_s: float = 0.0
    """The list is updated after a time drawn anew between these for each cycle, the first of which
    begins with the origin of times (`Censor.begin`): the dialling of a cell's call. What was put on
    it counts from its next update on; 0: at once."""
    delay_median_s: float | None = None
    delay_p95_s: float | None = None
    delay_max_s: float | None = None
    """What was put on it counts after a delay, drawn for each entry from the log-normal
    distribution with this median and this 95th percentile, below the maximum; None: at once."""
    packet: Literal["drop", "pass"] = "pass"
    """What becomes of the packet that was the reason."""
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
    """Return the names of the numbers by which an action does something, which need evidence.

    Those are not among them that are None, or that are 0 by default and have that value.
    """
    defaults = {f.name: f.default for f in fields(action)}
    values = {name: getattr(action, name) for name in number_types(action)}
    return [
        name
        for name, value in values.items()
        if value is not None and not (value == 0 and defaults[name] == 0)
    ]


def number_types(action: Action) -> dict[str, type[int] | type[float]]:
    """Return the type of each number that an action can have, by name, whatever its value is."""
    kinds = {"int": int, "float": float}
    texts = {f.name: str(f.type).removesuffix(" | None") for f in fields(action)}
    return {name: kinds[text] for name, text in texts.items() if text in kinds}


def described(action: Action) -> str:
    """Say an action in words: its kind, and what is not as by default."""
    set_to = [
        f"{f.name} {_plain(value)}"
        for f in fields(action)
        if f.name != "kind" and (value := getattr(action, f.name)) != f.default
    ]
    return ", ".join([action.kind, *set_to])


def _plain(value: object) -> object:
    """Return a number as people write it: 24000, where Python has 24000.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _check_share(name: str, value: float, whole: int = 1) -> None:
    if not 0 <= value <= whole:
        raise ValueError(f"{name}: {value} is not between 0 and {whole}")
