"""Show what an inference says of worlds that its family lacks.

Censors that the family cannot describe are run in the lab, their reports are simulated from those
calls and inferred. A good answer is to abstain or to leave open what is recognised; a confident
wrong one names something that this censor does not recognise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from testbed.censor.profile import Profile
from testbed.experiment.hypotheses import Family
from testbed.experiment.reports import chance
from testbed.experiment.scenario import load_censor
from testbed.inference.draws import Floats
from testbed.inference.posterior import Draws
from testbed.inference.report_likelihoods import Statement, reported
from testbed.inference.simulated_truths import ABSTAIN, surprises
from testbed.tools.inferring.cells import cell_at
from testbed.tools.inferring.conclusions import SURE
from testbed.tools.inferring.study import Inference

WORLDS = ("udp-blocked", "ir-udp-2022", "shape-40k", "burst-loss", "voip-block-gulf")
"""Profiles that act on calls by what no rule of the families has."""
_SETS = 300
"""How many sets of reports are simulated of each."""
_CALLS = 5
"""How many calls under a censor say what it does in a setting."""


@dataclass(frozen=True)
class Outside:
    """What is inferred from reports of a world that the family lacks."""

    world: str
    abstained: float
    """In which share of cases there is no answer."""
    wrong: float
    """In which share there is an answer that gives 90 % to something that is not recognised."""
    reproduced: float
    """How probable it is, by what is believed then, that what was reported is true: the mean."""


def outside(
    found: Inference, believed: Draws, box: str, seed: int, names: Sequence[str] = WORLDS
) -> list[Outside]:
    """Return what is inferred under each profile, and from reports without a cause in common."""
    rng = np.random.default_rng(seed)
    wrong = believed.wrong[rng.integers(len(believed.wrong), size=_SETS)]
    shape = wrong.shape
    worlds: dict[str, tuple[Floats, frozenset[str]]] = {
        "reports at random, as of unrelated causes": (np.full(shape, 0.5), frozenset()),
        "every report is the opposite of a real one": (wrong, frozenset()),
    }
    for name in names:
        censor = load_censor(name)
        truths = np.broadcast_to(under(found, censor), shape)
        worlds[name] = (reported(truths, wrong), recognised(found.study.family, censor))
    return [
        _inferred(found, believed, box, name, rng.random(shape) < chances, true, seed)
        for name, (chances, true) in worlds.items()
    ]


def _inferred(
    found: Inference,
    believed: Draws,
    box: str,
    name: str,
    answers: NDArray[np.bool_],
    true: frozenset[str],
    seed: int,
) -> Outside:
    log = believed.log_likelihood(answers)
    weights = np.exp(log - log.max(axis=0))
    weights /= weights.sum(axis=0)
    silent = surprises(believed, answers, seed) < ABSTAIN
    named = np.zeros(len(answers), bool)
    points = found.model.cube.box(believed.rows, box)
    for parameter, there in _recognitions(found.study.family, points):
        if parameter not in true and there.mean() < SURE:
            named |= there @ weights >= SURE
    now = (believed.truths.T @ weights).T
    return Outside(
        name,
        float(silent.mean()),
        float((named & ~silent).mean()),
        float(now[answers].mean()),
    )


def _recognitions(family: Family, points: Floats) -> Iterator[tuple[str, Floats]]:
    """Yield each parameter that says whether something is recognised, and where it is."""
    for name, parameter in family.parameters.items():
        if "yes" in parameter.choices:
            yes = family.names.index(name), list(parameter.choices).index("yes")
            ends = np.cumsum([0.0, *parameter.choices.values()])
            u = points[:, yes[0]]
            yield name, ((u >= ends[yes[1]]) & (u < ends[yes[1] + 1])).astype(float)


def recognised(family: Family, censor: Profile) -> frozenset[str]:
    """Return the parameters of a family whose rules a censor has, whatever it does then."""
    matches = [asdict(rule.match) for rule in censor.rules]

    def has(wanted: Mapping[str, object]) -> bool:
        fixed = {k: v for k, v in wanted.items() if not (isinstance(v, str) and v.startswith("$"))}
        texts = {k: tuple(v) if isinstance(v, list) else v for k, v in fixed.items()}
        return any(all(match[key] == value for key, value in texts.items()) for match in matches)

    found = (name for rule in family.rules if rule.match and has(rule.match) for name in rule.when)
    return frozenset(name for name in found if "yes" in family.parameters[name].choices)


def under(found: Inference, censor: Profile) -> Floats:
    """Return how probable each statement is under one censor, by some calls of each setting.

    Of what is not known about messengers, the first choices are taken.
    """
    studied = found.study
    first = np.zeros(len(studied.family.parameters))
    cells = {
        setting: [
            replace(cell_at(studied.family, setting, first, seed), censor=censor)
            for seed in range(1, _CALLS + 1)
        ]
        for setting in dict.fromkeys(each.setting for each in found.model.statements)
    }
    studied.run([cell for each in cells.values() for cell in each], censor.name)

    def share(statement: Statement) -> float:
        kept = [studied.bank.get(cell) for cell in cells[statement.setting]]
        held = [statement.observed.holds(one.outcome) for one in kept if one is not None]
        return chance(statement.calls, sum(held) / max(len(held), 1))

    return np.array([share(each) for each in found.model.statements])
