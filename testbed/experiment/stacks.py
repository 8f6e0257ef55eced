"""Choose what restricts a scenario's calls: profiles, stacks of them, sweeps and times of day.

A choice is a text. It names a profile (`scenarios/censors/`), a stack's file
(`scenarios/stacks/`), or several of either in series, from the users outwards: `"a + b"`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

from pydantic import Field

from testbed.censor.profile import Profile
from testbed.censor.stack import AnyCensor, Stack, in_series, part_names, with_numbers_of
from testbed.evidence import Evidence, check_reviewed
from testbed.experiment.explanations import Asked, ScenarioError
from testbed.experiment.ranges import wrong_number
from testbed.experiment.toml_files import name_of

_FORBID_UNKNOWN_KEYS = {"extra": "forbid"}


@dataclass(frozen=True)
class StackedProfile:
    """A part of a stack, and why it is there."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    profile: str
    """The profile's name in `scenarios/censors/`."""
    evidence: Evidence
    """The source for this part at this place and time; the profile has those of its numbers."""


@dataclass(frozen=True)
class StackFile:
    """What restricted one kind of line in one month, as profiles in series."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    title: str
    description: str
    reviewed: str
    """When it was last checked against its sources, such as `2026-11-30`."""
    parts: Annotated[tuple[StackedProfile, ...], Field(min_length=1)]
    """The parts from the users outwards."""
    name: str = field(default="", kw_only=True)
    """The file's name."""

    def __post_init__(self) -> None:
        check_reviewed(self.reviewed)

    def stack(self, load: Callable[[str], Profile]) -> Stack:
        """Return the stack, with its parts as `load` reads them.

        Raises:
            ValueError: A part is there twice, or there are too many.
        """
        parts = tuple(load(part.profile) for part in self.parts)
        return Stack(self.name, self.title, self.description, parts)


@dataclass(frozen=True)
class Sweep:
    """A censor with some of its numbers set to each of several values in turn."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    name: str
    """A profile or a stack, as in `censors`."""
    sweep: str
    """The name of what is varied, in one word, to print."""
    numbers: tuple[str, ...]
    """The numbers, as `RULE.NUMBER`, or `PART.RULE.NUMBER` in a stack; all are set to the same
    value."""
    values: Annotated[tuple[float, ...], Field(min_length=1)]

    def of(self, censor: AnyCensor, source: str) -> Iterator[Asked[AnyCensor]]:
        """Yield the censor with each of the values.

        Raises:
            ScenarioError: A number does not exist, or cannot have one of the values.
        """
        for value in self.values:
            for path in self.numbers:
                if wrong := wrong_number(path.rpartition(".")[2], value):
                    raise ScenarioError(f"{source}: censors: {self.name}: {path}: {wrong}")
            try:
                varied = with_numbers_of(censor, self.numbers, value)
            except ValueError as error:
                raise ScenarioError(f"{source}: censors: {error}") from None
            name = f"{censor.name} {self.sweep}={value:g}"
            asked = f"{self.name} with {', '.join(self.numbers)} = {value!r}"
            yield name, asked, replace(varied, name=name)


def any_censor(
    text: str,
    stacks: Collection[str],
    load_stack: Callable[[str], StackFile],
    load: Callable[[str], Profile],
) -> AnyCensor:
    """Return what a text names, in series; `stacks` has the names of the stacks' files.

    Each part is a profile or a stack's file, and a single one may stand alone.

    Raises:
        ScenarioError: A part does not exist, is there twice, or the text is not of this form.
    """
    try:
        return in_series(
            [
                load_stack(name).stack(load) if name in stacks else load(name)
                for name in part_names(text)
            ]
        )
    except ValueError as error:
        raise ScenarioError(f"censors: {error}") from None


def usual(text: str) -> str:
    """Return a censor's name as records have it: parts by their names, with ` + ` between them.

    The plus sign of a swept number such as `1e+06` is none between parts.
    """
    parts = re.split(r"(?<![0-9]e)\s*\+\s*", text)
    return " + ".join(part and name_of(part) for part in parts)


def timed(censor: AnyCensor, local_times: Sequence[str]) -> Iterator[tuple[AnyCensor, str]]:
    """Yield a censor for each time of day, named by it; only once if it does not depend on it."""
    if not censor.depends_on_local_time:
        yield censor, local_times[0]
        return
    for each in dict.fromkeys(local_times):
        yield replace(censor, name=f"{censor.name} at {each}"), each
