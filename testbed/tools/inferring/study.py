"""Infer a censor from reports: which calls to make in the lab, and what follows from them.

Calls are spent where they decide something, in rounds:

1. Every setting is tried under the same first points of the cube, which fill it evenly.
2. Settings in which some outcome is neither rare nor usual are tried under more points.
3. Some of their calls are made again with one parameter changed and the same seed. A parameter that
   never changed anything is *idle* in the setting and not given to its emulators (one factor at a
   time: Morris, Technometrics 33 (1991) 161; a call repeats to the nanosecond, so equal is equal).
4. With what is believed after that, points are drawn from the posterior, and the settings of the
   reports are tried there. These rounds sharpen the emulators where the answer is decided.

Which points are tried cannot bias the answer, because the emulators learn the probability of an
outcome *given* the censor. All rounds follow from the seed and from the outcomes of earlier cells,
which the bank keeps: an interrupted inference goes on where it was, and ends with the same answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from testbed.experiment.cell import Cell
from testbed.experiment.hypotheses import Family, load_family, settings
from testbed.experiment.reports import Observed, Reports, Setting
from testbed.inference.draws import Cube, Floats, design
from testbed.inference.emulator import fit
from testbed.inference.features import Features, changed, choices_at, learnt
from testbed.inference.posterior import Draws, Posterior, draw, weigh
from testbed.inference.report_likelihoods import Emulated, Model, statements
from testbed.run.bank import Bank, Kept
from testbed.tools.inferring.cells import cell_at

Run = Callable[[Sequence[Cell], str], None]
"""Runs the cells that the bank has not; the text says for what."""
_LEAST_CHANGES = 6
"""A parameter that was changed less often may have an effect that was not seen."""
_VARIES = 0.15
"""An outcome that is rarer than this, or more usual, needs no more points."""


@dataclass(frozen=True)
class Effort:
    """How many cells are spent, and how many draws are made."""

    first: int = 32
    """The points under which every setting is tried."""
    more: int = 96
    """Those under which the settings are tried whose outcomes vary."""
    rounds: int = 2
    """How often points are drawn from what is believed."""
    aimed: int = 16
    """The points of each of these rounds."""
    changes: int = 12
    """How many calls are made again with another choice of each parameter that may be idle."""
    draws: int = 50_000
    """The draws from the prior that are weighted at the end; a quarter of them before."""
    seed: int = 1

    @classmethod
    def of(cls, points: int, rounds: int, draws: int, seed: int) -> Effort:
        """Return the effort for so many points, rounds and draws.

        With no more points than every setting gets, no call is made again: too few calls would
        show what a parameter does.
        """
        first = min(points, cls.first)
        changes = cls.changes if points > first else 0
        return cls(first, points - first, rounds, changes=changes, draws=draws, seed=seed)


@dataclass
class Calls:
    """The calls of one setting so far."""

    points: list[Floats] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    idle: frozenset[str] = frozenset()
    """The parameters that were changed without any effect."""


@dataclass
class Study:
    """An inference on its way."""

    family: Family
    reports: Reports
    bank: Bank
    run: Run
    effort: Effort
    calls: dict[Setting, Calls] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)
    """All cells that were used."""

    @property
    def observed(self) -> Mapping[Setting, Sequence[Observed]]:
        """What reports and observations ask of the calls of each setting."""
        asked = [(each.setting, each.observed) for each in self.family.observations]
        asked += [(r.setting, r.observed) for r in self.reports.reports if r.setting is not None]
        found: dict[Setting, dict[Observed, None]] = {each: {} for each in self.settings}
        for setting, observed in asked:
            found[setting][observed] = None
        return {setting: list(each) for setting, each in found.items()}

    @property
    def settings(self) -> list[Setting]:
        """The settings of the reports, then those of observations that could be made."""
        of_reports = (each.setting for each in self.reports.reports)
        return settings(self.family, [each for each in of_reports if each is not None])

    @property
    def cube(self) -> Cube:
        """Everything that is not known."""
        boxes = dict.fromkeys(each.box for each in statements(self.family, self.reports.reports))
        return Cube(self.family, list(boxes))

    def try_points(self, tried: Iterable[Setting], points: Floats, what: str) -> None:
        """Make a call of each setting under each point, and add what came of it."""
        begin = 1 + max((len(each.points) for each in self.calls.values()), default=0)
        numbered = list(enumerate(points, start=begin))
        plan = [
            (setting, point, seed, cell_at(self.family, setting, point, seed))
            for seed, point in numbered
            for setting in tried
        ]
        self.run([cell for *_, cell in plan], what)
        for setting, point, seed, cell in plan:
            if (kept := self.bank.get(cell)) is not None:
                calls = self.calls.setdefault(setting, Calls())
                calls.points.append(point)
                calls.kept.append(kept)
                calls.seeds.append(seed)
                self.cells.append(cell)

    def screen(self, tried: Iterable[Setting], what: str) -> None:
        """Change parameters one at a time, and note which of them never changed a call."""
        plan = [
            Changed(setting, name, kept, cell_at(self.family, setting, point, seed))
            for setting in tried
            for name, kept, point, seed in self._changes(setting)
        ]
        self.run([each.cell for each in plan], what)
        self.cells += [each.cell for each in plan]
        for setting in dict.fromkeys(each.setting for each in plan):
            of_setting = [each for each in plan if each.setting == setting]
            counted = Counter(each.parameter for each in of_setting)
            mattered = {each.parameter for each in of_setting if self._differs(each)}
            enough = {name for name, n in counted.items() if n >= _LEAST_CHANGES}
            self.calls[setting].idle = frozenset(enough - mattered)

    def _differs(self, changed: Changed) -> bool:
        kept = self.bank.get(changed.cell)
        return kept is None or (kept.heard, kept.outcome) != (
            changed.before.heard,
            changed.before.outcome,
        )

    def _changes(self, setting: Setting) -> Iterator[tuple[str, Kept, Floats, int]]:
        """Yield calls to make again: the parameter, the first call, and point and seed."""
        calls = self.calls[setting]
        points = np.array(calls.points)
        features = self.features(setting)
        for name in features.open:
            chosen = choices_at(self.family, name, points)
            count = len(self.family.parameters[name].choices)
            places = np.flatnonzero(features.may_matter(name, points))[: self.effort.changes]
            for number, place in enumerate(places):
                other = int(chosen[place] + 1 + number % (count - 1)) % count
                point = changed(self.family, points[place], name, other)
                yield name, calls.kept[place], point, calls.seeds[place]

    def features(self, setting: Setting) -> Features:
        """Return what the emulators of a setting are given."""
        calls = self.calls[setting]
        matched = [kept.rules for kept in calls.kept]
        points = np.array(calls.points)
        return learnt(self.family, setting.messenger, points, matched, calls.idle)

    def varying(self) -> list[Setting]:
        """Return the settings of which some outcome is neither rare nor usual."""
        found = []
        for setting, observed in self.observed.items():
            kept = self.calls[setting].kept
            shares = [np.mean([each.holds(k.outcome) for k in kept]) for each in observed]
            if any(_VARIES < share < 1 - _VARIES for share in shares):
                found.append(setting)
        return found

    def model(self, leave_out: frozenset[int] = frozenset()) -> Model:
        """Return the model that the calls so far give.

        Without the calls under the points of some numbers, others can be tested by them.
        """
        emulated = {each: self._emulated(each, leave_out) for each in self.settings}
        stated = statements(self.family, self.reports.reports)
        return Model(self.cube, tuple(stated), emulated)

    def _emulated(self, setting: Setting, leave_out: frozenset[int]) -> Emulated:
        calls = self.calls[setting]
        features = self.features(setting)
        used = [n for n in range(len(calls.points)) if n not in leave_out]
        given = features(np.array([calls.points[n] for n in used]))
        outcomes = [calls.kept[n].outcome for n in used]
        emulators = {
            observed: fit(given, np.array([observed.holds(each) for each in outcomes]))
            for observed in self.observed[setting]
        }
        return Emulated(features, emulators)


@dataclass(frozen=True)
class Changed:
    """A call that is made again with one parameter changed."""

    setting: Setting
    parameter: str
    before: Kept
    cell: Cell


@dataclass(frozen=True)
class Inference:
    """What was inferred."""

    study: Study
    model: Model
    draws: Draws
    posterior: Posterior


def study(reports: Reports, bank: Bank, run: Run, effort: Effort) -> Study:
    """Return a study of reports before any call."""
    return Study(load_family(reports.hypotheses), reports, bank, run, effort)


def infer(studied: Study) -> Inference:
    """Make the calls that are needed, and infer."""
    effort, family = studied.effort, studied.family
    points = design(family, effort.first + effort.more, effort.seed)
    studied.try_points(studied.settings, points[: effort.first], "every setting")
    varying = studied.varying()
    studied.try_points(varying, points[effort.first :], "settings that vary")
    studied.screen(studied.settings, "one parameter changed")
    for number in range(effort.rounds):
        found = concluded(studied, effort.draws // 4)
        aimed = plausible(found.posterior, effort.aimed, effort.seed + number)
        of_reports = {each.setting for each in found.model.statements}
        studied.try_points(
            [each for each in varying if each in of_reports],
            aimed,
            f"plausible censors, round {number + 1}",
        )
    return concluded(studied, effort.draws)


def concluded(studied: Study, count: int) -> Inference:
    """Return what follows from the calls so far."""
    model = studied.model()
    draws = draw(model, count, studied.effort.seed)
    return Inference(studied, model, draws, weigh(model, draws))


def plausible(posterior: Posterior, count: int, seed: int) -> Floats:
    """Return points drawn from what is believed of the boxes, each box in turn."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(posterior.weights), count, p=posterior.weights)
    boxes = [posterior.box(name)[chosen] for name in posterior.model.cube.boxes]
    return np.array([boxes[n % len(boxes)][n] for n in range(count)])
