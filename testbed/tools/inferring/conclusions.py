"""Say what an inference has found: in rows for tables, figures and pages, and in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from testbed.experiment.hypotheses import Family, RuleTemplate
from testbed.inference.draws import Floats
from testbed.inference.features import is_there
from testbed.inference.posterior import Posterior
from testbed.inference.prediction_scores import bits_of_each
from testbed.inference.simulated_truths import ABSTAIN, surprises
from testbed.tools.inferring.study import Inference

SURE = 0.9
"""From this probability on, the words say that something is so; from 1 - this down, that not."""
LITTLE_BITS = 0.05
"""With less information than this about a parameter, the reports cannot tell it."""
_RARE = 0.02
"""Assumptions about messengers that are less probable than this are not listed."""


@dataclass(frozen=True)
class Mechanism:
    """How probable a choice of a parameter is in a box."""

    box: str
    parameter: str
    title: str
    choice: str
    prior: float
    now: float
    halved: float
    """What it would be if the prior odds were half of what they are."""
    doubled: float
    by_messengers: tuple[float, float]
    """The least and the greatest, if one thing about messengers were known."""
    bits: float


@dataclass(frozen=True)
class Number:
    """What is believed of a number in a box, if the rule that has it is there."""

    box: str
    parameter: str
    title: str
    prior: tuple[float, float]
    quantiles: tuple[float, float, float, float, float]
    """Of 5, 25, 50, 75 and 95 %."""
    there: float
    """How probable the rule is."""
    bits: float


@dataclass(frozen=True)
class Judged:
    """How a report fits what is believed."""

    name: str
    said: str
    when: str
    box: str
    source: str
    source_class: str
    before: float | None
    """How probable it was that the statement is true, before any report; None: not in the lab."""
    now: float | None
    wrong: float | None
    """How probable it is that the source was wrong."""
    bits: float | None
    """What the report tells that the others do not."""
    not_in_lab: str = ""

    @property
    def contradicts(self) -> bool:
        """Whether it is more probable that the source was wrong than that it was right."""
        return self.wrong is not None and self.wrong > 0.5


@dataclass(frozen=True)
class Conclusions:
    """All that an inference has found."""

    mechanisms: tuple[Mechanism, ...]
    numbers: tuple[Number, ...]
    reports: tuple[Judged, ...]
    surprise: float
    """How often the family's own reports are as improbable as the real ones."""
    cells: int
    by_other_code: int
    effective: float

    @property
    def abstains(self) -> bool:
        """Whether no censor of the family explains the reports, so that nothing is concluded."""
        return self.surprise < ABSTAIN

    @property
    def undecided(self) -> list[str]:
        """The titles of the parameters about which the reports tell next to nothing."""
        most: dict[str, float] = {}
        found = [(each.title, each.bits) for each in self.mechanisms]
        for title, bits in [*found, *((each.title, each.bits) for each in self.numbers)]:
            most[title] = max(most.get(title, 0.0), bits)
        return [title for title, bits in most.items() if bits < LITTLE_BITS]


def conclude(found: Inference) -> Conclusions:
    """Return what an inference has found."""
    posterior, studied = found.posterior, found.study
    family = studied.family
    boxes = posterior.model.cube.boxes
    names = family.parameters
    of_censor = [name for name, each in names.items() if each.about == "censor"]
    answers = np.ones((1, len(found.model.statements)), bool)
    surprise = surprises(found.draws, answers, studied.effort.seed)
    return Conclusions(
        tuple(
            each
            for box in boxes
            for name in of_censor
            if names[name].choices
            for each in _mechanisms(posterior, box, name)
        ),
        tuple(
            _number(posterior, box, name)
            for box in boxes
            for name in of_censor
            if names[name].between is not None
        ),
        tuple(_reports(found)),
        float(surprise[0]),
        len(studied.cells),
        studied.bank.by_other_code(studied.cells),
        posterior.effective,
    )


def _mechanisms(posterior: Posterior, box: str, name: str) -> Iterator[Mechanism]:
    parameter = posterior.model.cube.family.parameters[name]
    now = posterior.choices(box, name)
    bits = posterior.bits(box, name)
    chosen = posterior.chosen(box, name)
    for number, (choice, prior) in enumerate(parameter.choices.items()):
        if choice == "no":
            continue
        within = _by_messengers(posterior, (chosen == number).astype(float))
        halved, doubled = (with_odds(now[choice], factor) for factor in (0.5, 2.0))
        yield Mechanism(
            box, name, parameter.title, choice, prior, now[choice], halved, doubled, within, bits
        )


def with_odds(probability: float, factor: float) -> float:
    """Return what a probability would be if the prior odds were multiplied by a factor."""
    return probability * factor / (probability * factor + 1 - probability)


def _by_messengers(posterior: Posterior, there: Floats) -> tuple[float, float]:
    family = posterior.model.cube.family
    box = posterior.model.cube.boxes[0]
    found = [float(posterior.weights @ there)]
    for name, parameter in family.parameters.items():
        if parameter.about != "messengers":
            continue
        groups = posterior.chosen(box, name)
        sums = np.bincount(groups, posterior.weights, len(parameter.choices))
        of_there = np.bincount(groups, posterior.weights * there, len(parameter.choices))
        found += [float(t / s) for t, s in zip(of_there, sums, strict=True) if s > _RARE]
    return min(found), max(found)


def _number(posterior: Posterior, box: str, name: str) -> Number:
    family = posterior.model.cube.family
    parameter = family.parameters[name]
    points = posterior.box(box)
    there = np.zeros(len(points))
    for template in templates_with(family, name):
        there = np.maximum(there, is_there(family, template.when, points))
    shares = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
    low, first, median, third, high = map(float, posterior.quantiles(box, name, shares, there))
    return Number(
        box, name, parameter.title, parameter.between or (0.0, 1.0),
        (low, first, median, third, high), float(posterior.weights @ there),
        posterior.bits(box, name),
    )  # fmt: skip


def templates_with(family: Family, name: str) -> list[RuleTemplate]:
    """Return the rules that have a parameter as a number of their action."""
    return [each for each in family.rules if f"${name}" in each.action.values()]


def _reports(found: Inference) -> Iterator[Judged]:
    model, posterior = found.model, found.posterior
    place = {each.name: n for n, each in enumerate(model.statements)}
    before = found.draws.truths.mean(axis=0)
    bits = bits_of_each(model, found.draws)
    for each in found.study.reports.reports:
        about = (each.name, each.said, each.when)
        n = place.get(each.name)
        if n is None:
            source = (each.source, each.source_class)
            yield Judged(*about, "", *source, None, None, None, None, each.not_in_lab)
            continue
        yield Judged(
            *about, model.statements[n].box, each.source, each.source_class, float(before[n]),
            float(posterior.reproduced[n]), float(posterior.misreported[n]), float(bits[n]),
        )  # fmt: skip


def in_words(found: Inference, concluded: Conclusions) -> list[str]:
    """Return the answer as sentences: first what is so, then what is not known."""
    reports = found.study.reports.reports
    tried = [each for each in concluded.reports if each.now is not None]
    days = sorted(each.when for each in reports)
    sources = {each.source.partition(" (")[0].partition(";")[0] for each in reports}
    scope = (
        f"{found.study.reports.title}: {len(reports)} reports of {len(sources)} sources, "
        f"{days[0]} to {days[-1]}; {len(reports) - len(tried)} of them the lab cannot try. "
        "What follows holds for the lines of those who wrote them, not for a country."
    )
    if concluded.abstains:
        return [
            scope,
            "No answer: no censor of this family explains these reports together (the family's own "
            f"reports are as improbable in {100 * concluded.surprise:.1f} % of cases). Either the "
            "family lacks what is done, or the reports are about different things.",
        ]
    told = [sentence for box in found.model.cube.boxes for sentence in _of_box(concluded, box)]
    contradicting = [each.name for each in tried if each.contradicts]
    return [
        scope,
        *told,
        f"Not told by these reports: {'; '.join(concluded.undecided) or 'nothing that was asked'}.",
        f"Contradicted by the others: {', '.join(contradicting) or 'none'}.",
    ]


def _of_box(concluded: Conclusions, box: str) -> Iterator[str]:
    mine = [each for each in concluded.mechanisms if each.box == box]
    sure = [_named(each) for each in mine if each.now >= SURE and each.bits >= LITTLE_BITS]
    not_so = [
        _named(each)
        for each in mine
        if each.now <= 1 - SURE and each.now < each.prior and each.bits >= LITTLE_BITS
    ]
    open_ = [
        _named(each) for each in mine if 1 - SURE < each.now < SURE and each.bits >= LITTLE_BITS
    ]
    yield f"{box[:1].upper()}{box[1:]}:"
    yield f"  supported: {'; '.join(sure) or 'nothing'}."
    yield f"  spoken against: {'; '.join(not_so) or 'nothing'}."
    yield f"  moved, but open: {'; '.join(open_) or 'nothing'}."


def _named(each: Mechanism) -> str:
    choice = "" if each.choice == "yes" else f" is {each.choice}"
    return f"{each.title}{choice} ({percent(each.prior)} before, {percent(each.now)} now)"


def percent(share: float) -> str:
    """Return a probability as whole per cent; never as certain as 0 or 100."""
    return f"{min(max(round(100 * share), 1), 99)} %"
