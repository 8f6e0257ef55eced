"""Asks which censors of a family of hypotheses could have produced a capture.

Censors are drawn from the family's prior, evenly (`inference.draws.design`), and each is tried as a
profile of the library is. The share that is possible, by choice of each parameter, says what the
capture speaks for and against; a choice that is as frequent among the possible ones as in the prior
is not decided by it. None may be possible.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from testbed.analysis.statistics import Estimate, share
from testbed.experiment.hypotheses import Family, Values, profile
from testbed.inference.draws import design, values_of
from testbed.tools.fitting.examination import Examination
from testbed.tools.fitting.library import Composition, candidates

DRAWN = 32
_SEED = 1


@dataclass(frozen=True)
class Choice:
    """A choice of a parameter, and how often a censor with it is possible."""

    parameter: str
    choice: str
    possible: Estimate


@dataclass(frozen=True)
class Tried:
    """How many censors of a family could have produced a capture."""

    family: str
    possible: Estimate
    choices: Sequence[Choice]


def tried(examined: Examination, family: Family, drawn: int = DRAWN) -> Tried:
    """Return which share of censors drawn from a family's prior could have produced a capture."""
    values = [values_of(family, point) for point in design(family, drawn, _SEED)]
    censors = [
        Composition(name, (profile(family, each, name),))
        for number, each in enumerate(values, 1)
        for name in [f"{family.name}-{number}"]
    ]
    found = {each.profile: each.is_possible for each in candidates(examined, censors)}
    possible = [found[censor.name] for censor in censors]
    return Tried(family.name, share(sum(possible), drawn), list(_choices(family, values, possible)))


def _choices(
    family: Family, values: Sequence[Values], possible: Sequence[bool]
) -> Iterator[Choice]:
    for name, parameter in family.parameters.items():
        if parameter.about != "censor":
            continue
        for choice in parameter.choices:
            own = [yes for each, yes in zip(values, possible, strict=True) if each[name] == choice]
            if own:
                yield Choice(name, choice, share(sum(own), len(own)))


def sentences(found: Tried) -> list[str]:
    """Return the shares as sentences: of all censors, then of choices that differ from it."""
    lines = [
        f"Of {found.possible.n} censors drawn from the prior of {found.family}, "
        f"{found.possible.value:.0%} ({found.possible.low:.0%} to {found.possible.high:.0%}) could "
        "have produced this."
    ]
    for each in found.choices:
        if not each.possible.overlaps(found.possible):
            lines.append(
                f"With {each.parameter} = {each.choice}: {each.possible.value:.0%} "
                f"({each.possible.low:.0%} to {each.possible.high:.0%}) of {each.possible.n}."
            )
    return lines
