"""Turn points of a family's cube into what can matter for the calls of one setting.

A setting meets few of a family's rules, and the first rule that matches decides. So an emulator is
given neither rules that never matched a packet in its setting, nor the numbers of a rule that is
hidden by an earlier one, nor parameters that were changed without any effect (`idle`). What it is
not given it cannot find to matter by chance.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from testbed.experiment.hypotheses import Family, RuleTemplate, messenger_parameters
from testbed.inference.draws import Floats, choice_of

_LEAST_CALLS = 5
"""In so many calls with both rules, a rule must have matched nothing to count as hidden."""
_RECOGNISED = {"label", "payload", "sni", "host", "alpn", "fingerprint", "inspected"}
"""The keys of a match for which packets have to be inspected."""


@dataclass(frozen=True)
class Features:
    """What an emulator of one setting is given."""

    family: Family
    messenger: str
    acting: tuple[str, ...] = ()
    """The rules that ever matched a packet in the setting, in the family's order."""
    hidden_by: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By rule: the earlier ones which leave it nothing to match."""
    idle: frozenset[str] = frozenset()
    """Parameters of which calls were seen not to depend."""

    def __call__(self, points: Floats) -> Floats:
        """Return a row of inputs for each point; the inputs are between 0 and 1.

        For each acting rule there is a column that says whether it acts, and one for each number of
        its action, which is 0 if it does not. The parameters of its match follow, 0 if no rule that
        has them acts, those of the inspection, 0 if no rule acts that needs one, and those of the
        messenger; a choice has a column for each possibility but the first.
        """
        acts = self.acts(points)
        found: list[Floats] = []
        for template in self._templates:
            there = acts[template.name]
            if template.when:
                found.append(there)
            for name in _named(template.action):
                found.append(there * column(self.family, name, points)[:, 0])
        for name in self.open:
            if name not in self.idle:
                found += list(column(self.family, name, points).T * self.may_matter(name, points))
        return np.column_stack(found) if found else np.zeros((len(points), 1))

    def may_matter(self, name: str, points: Floats) -> Floats:
        """Return 1 for each point at which an open parameter may have an effect, and else 0."""
        if name in messenger_parameters(self.family, self.messenger):
            return np.ones(len(points))
        acts = self.acts(points)
        using = {each.name for each in self._templates if name in _named(each.match)}
        if name in self._inspected:
            using |= {each.name for each in self._recognising}
        found: Floats = np.max([acts[each] for each in using], axis=0)
        return found

    @property
    def open(self) -> list[str]:
        """The parameters of matches, inspection and messenger that may be idle."""
        of_matches = (name for each in self._templates for name in _named(each.match))
        of_messenger = messenger_parameters(self.family, self.messenger)
        return list(dict.fromkeys([*of_matches, *self._inspected, *of_messenger]))

    def acts(self, points: Floats) -> dict[str, Floats]:
        """Return for each rule that acts in this setting 1 where it is there and not hidden."""
        there = {each.name: is_there(self.family, each.when, points) for each in self._templates}
        found = dict(there)
        for name, earlier in self.hidden_by.items():
            for other in earlier:
                found[name] = found[name] * (1 - there[other])
        return found

    @property
    def _templates(self) -> list[RuleTemplate]:
        return [each for each in self.family.rules if each.name in self.acting]

    @property
    def _recognising(self) -> list[RuleTemplate]:
        return [each for each in self._templates if not _RECOGNISED.isdisjoint(each.match)]

    @property
    def _inspected(self) -> list[str]:
        return list(_named(self.family.inspection)) if self._recognising else []


def learnt(
    family: Family,
    messenger: str,
    points: Floats,
    matched: Sequence[Collection[str]],
    idle: frozenset[str] = frozenset(),
) -> Features:
    """Return the features of a setting whose calls were made at points.

    `matched` are the rules that matched a packet in each of these calls.
    """
    seen = {name for each in matched for name in each}
    acting = [each for each in family.rules if each.name in seen]
    there = {each.name: is_there(family, each.when, points) > 0 for each in acting}
    did = {each.name: np.array([each.name in one for one in matched]) for each in acting}
    hidden: dict[str, tuple[str, ...]] = {}
    for place, later in enumerate(acting):
        both = {each.name: there[each.name] & there[later.name] for each in acting[:place]}
        hidden[later.name] = tuple(
            name
            for name, calls in both.items()
            if calls.sum() >= _LEAST_CALLS and not did[later.name][calls].any()
        )
    return Features(family, messenger, tuple(each.name for each in acting), hidden, idle)


def column(family: Family, name: str, points: Floats) -> Floats:
    """Return a number, scaled to 0 to 1, or a column for each choice but the first."""
    parameter = family.parameters[name]
    u: Floats = points[:, family.names.index(name)]
    if parameter.between is not None:
        return u[:, None]
    chosen = choice_of(parameter, u)[:, None]
    found: Floats = (chosen == np.arange(1, len(parameter.choices))).astype(float)
    return found


def is_there(family: Family, when: Mapping[str, str | tuple[str, ...]], points: Floats) -> Floats:
    """Return 1 for each point at which a rule with these conditions is there, and else 0."""
    found = np.ones(len(points))
    for name, wanted in when.items():
        parameter = family.parameters[name]
        names = (wanted,) if isinstance(wanted, str) else wanted
        numbers = [list(parameter.choices).index(each) for each in names]
        u = points[:, family.names.index(name)]
        found *= np.isin(choice_of(parameter, u), numbers)
    return found


def changed(family: Family, point: Floats, name: str, choice: int) -> Floats:
    """Return a point with another choice of one parameter: the middle of that choice's interval."""
    ends = np.cumsum([0.0, *family.parameters[name].choices.values()])
    found = point.copy()
    found[family.names.index(name)] = (ends[choice] + ends[choice + 1]) / 2
    return found


def choices_at(family: Family, name: str, points: Floats) -> NDArray[np.intp]:
    """Return the number of a parameter's choice at each point."""
    return choice_of(family.parameters[name], points[:, family.names.index(name)])


def _named(template: Mapping[str, object]) -> Iterator[str]:
    texts = (value for value in template.values() if isinstance(value, str))
    return (text[1:] for text in texts if text.startswith("$"))
