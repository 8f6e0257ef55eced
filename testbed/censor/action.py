"""Define what an action of a rule is: data, with its effect on packets and how it is calibrated.

Each action is one file in `actions/`. It has

- its data: a frozen dataclass with a `kind`, which is read from a profile's TOML;
- its effect: an object with the state, such as the tokens of a policer or the queue of a shaper,
  and its `scope`, which says what shares that state;
- its calibration: the `load` that reveals it, what packets `may_meet` under it, whether a sample
  `agrees` with it, and the `series` of packets that measure its numbers (`testbed.censor.trial`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from random import Random
from typing import ClassVar, Literal, Protocol

from testbed.censor.packet import Packet
from testbed.censor.release import Release
from testbed.censor.trial import Harm, Load, Sample, Series

FORBID_UNKNOWN_KEYS = {"extra": "forbid"}
Scope = Literal["rule", "flow", "direction", "client"]
"""What has an effect of its own: the rule, each flow, each direction of a flow, or each direction
of each client address."""
PassOrDrop = Literal["drop", "pass"]
"""What happens to a packet that triggers something."""


class Effect(Protocol):
    """The running instance of an action, with its state."""

    def apply(self, packet: Packet, now: float) -> Sequence[Release]:
        """Return what leaves the middlebox for a packet that arrived at `now` (s).

        `now` never decreases.
        """
        ...


@dataclass(frozen=True)
class Action(ABC):
    """What a rule does to the packets that it matches."""

    acts: ClassVar[bool] = True
    """Whether it affects packets."""
    forges: ClassVar[bool] = False
    """Whether the middlebox makes packets of its own."""
    may_meet: ClassVar[frozenset[Harm]] = frozenset()
    """What may happen to packets under it."""

    @property
    @abstractmethod
    def kind(self) -> str:
        """Return its name in a profile; each action has it as a field."""

    @property
    def scope(self) -> Scope:
        """Return what has an effect of its own."""
        return "rule"

    @property
    def shows_in(self) -> Literal["up", "down", "both"]:
        """Return the direction whose packets reveal it."""
        return "both"

    @property
    def holds_s(self) -> float:
        """Return how long it may hold a packet while later ones pass."""
        return 0.0

    @abstractmethod
    def effect(self, rng: Random, enlist: Callable[[float], None]) -> Effect | None:
        """Return a new effect, or None if packets only pass.

        `enlist` puts the flow on the action's list at a time (s).
        """

    def load(self) -> Load:
        """Return the packets that reveal the action."""
        return Load(10)

    def agrees(self, sample: Sample) -> bool:
        """Return whether the packets of a flow were treated as the action promises."""
        met = {harm for each in sample.packets for harm in each.met}
        return met <= self.may_meet and self.has_worked(sample)

    def has_worked(self, sample: Sample) -> bool:
        """Return whether the action showed in packets that met nothing but what they may meet."""
        del sample
        return True

    def series(self, protocol: str) -> Iterable[Series]:
        """Return the experiments that measure the action's numbers by flows of a protocol."""
        del protocol
        return ()


def passed(packet: Packet, now: float) -> tuple[Release, ...]:
    """Return the release of a packet that passes at once, unchanged."""
    return (Release(now, packet.data, packet.direction),)


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


def check_share(name: str, value: float, whole: int = 1) -> None:
    """Check that a number is a share.

    Raises:
        ValueError: It is not.
    """
    if not 0 <= value <= whole:
        raise ValueError(f"{name}: {value} is not between 0 and {whole}")
