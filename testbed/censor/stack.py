"""Put censors in series: a packet crosses one after another, as it would cross several middleboxes.

The first part of a stack is the nearest to the users, so packets from inside (`up`) meet the parts
in their order, and packets from outside in the opposite order. Each part is a `Censor` with its own
flows, lists and generator, and knows nothing of the others:

- What a part drops, or answers itself, the parts behind it never see.
- A packet that a part forges passes only the parts on its way: towards the users those before it,
  towards the outside those behind it.
- A packet that a part holds meets the next part when it is released (`StackedCensors.resume`).
- A flow is settled only once it is in every part; until then all parts see its packets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from testbed.censor import local_time as time_of_day
from testbed.censor.censor import Censor
from testbed.censor.packet import Direction, Packet, parse_packet
from testbed.censor.profile import Profile, with_numbers
from testbed.censor.release import Onward, Release

_FORBID_UNKNOWN_KEYS = {"extra": "forbid"}
MOST_PARTS = 12
"""How many parts a stack may have; the longest that is shipped has eight."""
_MOST_FORGED = 4
"""A packet that so many parts forged in answer to one another is dropped. Two parts that answer
each other's packets would otherwise do so for ever."""
_STEP = {Direction.UP: 1, Direction.DOWN: -1}
_NAME = re.compile(r"(?P<parts>\S+(?: \+ \S+)*)(?: (?P<variation>.*))?")


@dataclass(frozen=True)
class Stack:
    """Profiles in series, from the users outwards."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    name: str
    title: str
    description: str
    parts: tuple[Profile, ...]

    def __post_init__(self) -> None:
        names = [part.name for part in self.parts]
        for place, name in enumerate(names):
            if name in names[:place]:
                raise ValueError(f"{self.name}: {name!r} is there twice; leave one out")
        if not 1 <= len(names) <= MOST_PARTS:
            raise ValueError(f"{self.name}: it has {len(names)} parts, expected 1 to {MOST_PARTS}")

    @property
    def depends_on_local_time(self) -> bool:
        """Whether what a part does depends on the time of day."""
        return any(part.depends_on_local_time for part in self.parts)


AnyCensor = Profile | Stack
"""What restricts a call: one profile, or several in series. Both have `parts`."""


def part_names(text: str) -> list[str]:
    """Return the names of the parts in a text such as `"ru-calls-2025-08 + ru-16kb-2025"`.

    Raises:
        ValueError: There is nothing before or behind a plus sign.
    """
    names = [name.strip() for name in text.split("+")]
    if "" in names:
        raise ValueError(f"{text!r}: expected names with a plus sign between them, as 'a + b'")
    return names


def name_of(parts: Sequence[str]) -> str:
    """Return the name of a stack of parts, which is that of the part if there is only one."""
    return " + ".join(parts)


def split_name(name: str) -> tuple[str, str]:
    """Split the name of a varied censor into that of the censor and what was varied.

    `"a + b loss=0.3"` becomes `("a + b", "loss=0.3")`; without a variation, the second is empty.
    """
    found = _NAME.fullmatch(name)
    return (found["parts"], found["variation"] or "") if found else (name, "")


def in_series(censors: Sequence[AnyCensor]) -> AnyCensor:
    """Return censors in series, from the users outwards; a single one is returned as it is.

    Raises:
        ValueError: A part is there twice, or there are too many.
    """
    if len(censors) == 1:
        return censors[0]
    return Stack(
        name=name_of([each.name for each in censors]),
        title=name_of([each.title for each in censors]),
        description="\n".join(each.description.strip() for each in censors),
        parts=tuple(part for each in censors for part in each.parts),
    )


def with_numbers_of(censor: AnyCensor, paths: Sequence[str], value: float) -> AnyCensor:
    """Return a censor in which the numbers with these paths have another value.

    A path is `RULE.NUMBER`, and in a stack `PART.RULE.NUMBER`.

    Raises:
        ValueError: There is no such number, or it cannot have that value.
    """
    if isinstance(censor, Profile):
        return with_numbers(censor, paths, value)
    own: dict[str, list[str]] = {part.name: [] for part in censor.parts}
    for path in paths:
        name = next((name for name in own if path.startswith(f"{name}.")), None)
        if name is None:
            raise ValueError(f"{path!r}: expected PART.RULE.NUMBER, with a part of {list(own)}")
        own[name].append(path.removeprefix(f"{name}."))
    return replace(
        censor, parts=tuple(with_numbers(part, own[part.name], value) for part in censor.parts)
    )


class StackedCensors:
    """The censors of a stack during one run; there may be only one."""

    def __init__(self, parts: Mapping[str, Censor]) -> None:
        self.parts = parts
        """The censors by name, from the users outwards."""
        self._parts = list(parts.values())
        idle_times = {part.idle_s for part in self._parts}
        self.idle_s = min(idle_times)
        """How long the kernel may remember a settled flow that is idle (s)."""
        # A part that does not see a settled flow takes it for idle. That is only harmless if all
        # parts, and therefore the kernel, forget it at the same time.
        self._settles = len(idle_times) == 1

    def begin(self, at: float) -> None:
        """Set the time origin of all parts (`Censor.begin`)."""
        for part in self._parts:
            part.begin(at)

    def on_packet(self, packet: Packet, now: float) -> Sequence[Release]:
        """Return what leaves the stack for a packet that arrived at `now` (s); () drops it.

        A release with `onward` has not left yet: call `resume` with it at its time. `now` must
        never decrease.
        """
        first = 0 if packet.direction is Direction.UP else len(self._parts) - 1
        return self._cross(packet, now, Onward(first))

    def resume(self, release: Release, now: float) -> Sequence[Release]:
        """Return what leaves the stack for a packet that a part has held until `now` (s)."""
        assert release.onward is not None
        return self._cross(parse_packet(release.data, release.direction), now, release.onward)

    def _cross(self, packet: Packet, now: float, at: Onward) -> Sequence[Release]:
        leaving: list[Release] = []
        for release in self._parts[at.part].on_packet(packet, now):
            itself = release.data is packet.data
            next_part = at.part + _STEP[release.direction]
            onward = Onward(next_part, at.forged + (not itself))
            if not 0 <= next_part < len(self._parts):
                leaving.append(release if self._settles else release._replace(settled=False))
            elif release.at > now:
                leaving.append(release._replace(onward=onward))
            elif onward.forged <= _MOST_FORGED:
                met = packet if itself else parse_packet(release.data, release.direction)
                found = self._cross(met, now, onward)
                leaving += [r._replace(settled=r.settled and release.settled) for r in found]
        return leaving


def running(
    censor: AnyCensor,
    seed: int | str,
    lists: Mapping[str, Sequence[str]],
    local_time: str = time_of_day.DEFAULT,
) -> StackedCensors:
    """Return the censors of a stack, or the one of a profile, ready for packets.

    Each part of a stack draws from a generator of its own, seeded by its name, so that the order
    of the parts does not change what a part draws.

    Raises:
        ValueError: A rule names an unknown list, or `local_time` is not a time of day.
    """
    several = len(censor.parts) > 1
    return StackedCensors(
        {
            part.name: Censor(
                part, Random(f"{seed} {part.name}" if several else seed), lists, local_time
            )
            for part in censor.parts
        }
    )
