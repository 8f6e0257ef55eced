"""Validate an inference: by simulated truths, by calls it was not given, and by reports left out.

- Truths from the prior, whose reports are simulated by the emulators, test the weights
  (`testbed.inference.simulated_truths`).
- Calls of the bank test the emulators: those under each eighth of the points are predicted by
  emulators that were given the others.
- Truths outside of the family test whether the inference abstains.
- Reports of each source are predicted by those of the others, and so they are by the prior, by the
  profile that was assumed before, and by how often other reports say that calls work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from testbed.censor.profile import Profile
from testbed.experiment.reports import Setting, chance
from testbed.experiment.scenario import load_censor
from testbed.inference.draws import Floats, inputs
from testbed.inference.emulator import fit, log_loss
from testbed.inference.posterior import Draws, draw
from testbed.inference.prediction_scores import Score, leave_sources_out, of_profile
from testbed.inference.simulated_truths import ABSTAIN, Validation, surprises, validate
from testbed.tools.inferring.cells import cell_at
from testbed.tools.inferring.study import Inference, Study

_FOLDS = 8
_SEEDS = 5
"""How many calls under the assumed profile say what it predicts of a setting."""
_WORLDS = 300
"""How many sets of reports are simulated of each world outside of the family."""
_NOISE = 0.1
"""The share of their reports that is wrong."""


@dataclass(frozen=True)
class Predicted:
    """How well the emulator of an outcome predicts calls that it was not given."""

    setting: Setting
    observed: str
    calls: int
    share: float
    """The share of calls for which it holds."""
    expected: float
    """The share that was predicted."""
    log_loss: float
    """The mean of -ln of the probability of what happened."""
    base_loss: float
    """The same for the share alone."""


@dataclass(frozen=True)
class Trials:
    """All that a validation has found."""

    box: str
    calibration: Validation
    emulators: tuple[Predicted, ...]
    outside: Mapping[str, float]
    """By a kind of world outside of the family: in which share of cases the inference abstains."""
    scores: tuple[Score, ...]


def tried(found: Inference, truths: int, draws: int, seed: int) -> Trials:
    """Return how an inference does; `truths` are simulated, and `draws` weighted for each."""
    model = found.model
    boxes = [each.box for each in model.statements]
    box = max(model.cube.boxes, key=boxes.count)
    believed = draw(model, draws, seed + 1)
    real = draw(model, truths, seed + 2)
    return Trials(
        box,
        validate(model, box, believed, real, seed),
        tuple(predicted(found.study)),
        _outside(found, believed, seed),
        tuple(_scores(found)),
    )


def predicted(studied: Study) -> list[Predicted]:
    """Return how well emulators predict the calls under points that they were not given."""
    found = []
    for setting, asked in studied.observed.items():
        calls = studied.calls[setting]
        points = np.array(calls.points)
        acting = {name for kept in calls.kept for name in kept.rules}
        in_order = [each.name for each in studied.family.rules if each.name in acting]
        given = inputs(studied.family, setting.messenger, in_order, points)
        for observed in asked:
            happened = np.array([observed.holds(kept.outcome) for kept in calls.kept])
            chances = _left_out(given, happened)
            share = float(np.clip(happened.mean(), 0.5 / len(happened), 1 - 0.5 / len(happened)))
            found.append(
                Predicted(
                    setting, _words(observed.verdicts, observed.symptoms, observed.connects),
                    len(happened), float(happened.mean()), float(chances.mean()),
                    log_loss(chances, happened), log_loss(np.full(len(happened), share), happened),
                )
            )  # fmt: skip
    return found


def _left_out(given: Floats, happened: NDArray[np.bool_]) -> Floats:
    fold = np.arange(len(given)) % _FOLDS
    chances = np.zeros(len(given))
    for number in range(_FOLDS):
        mine = fold == number
        chances[mine] = fit(given[~mine], happened[~mine])(given[mine])
    return chances


def _words(verdicts: Sequence[str], symptoms: Sequence[str], connects: bool | None) -> str:
    set_up = {None: "", True: "set up", False: "not set up"}[connects]
    return ", ".join(filter(None, (" or ".join(verdicts), *symptoms, set_up))) or "chat works"


def _outside(found: Inference, believed: Draws, seed: int) -> dict[str, float]:
    """Return how often the inference abstains from reports of worlds that the family has not."""
    rng = np.random.default_rng(seed)
    size = (_WORLDS, len(found.model.statements))
    noise = rng.random(size) < _NOISE
    domestic = np.array([each.setting.messenger == "max" for each in found.model.statements])
    works = np.array([each.observed.works is True for each in found.model.statements])
    worlds = {
        "reports at random, as of unrelated causes": rng.random(size) < 0.5,
        "every report is the opposite of a real one": noise,
        "the domestic messenger is restricted, and no other": (works != domestic) ^ noise,
    }
    return {
        name: float((surprises(believed, answers, seed) < ABSTAIN).mean())
        for name, answers in worlds.items()
    }


def _scores(found: Inference) -> list[Score]:
    scores = leave_sources_out(found.model, found.draws)
    if name := found.study.reports.assumed_profile:
        truths = under(found, load_censor(name))
        scores.append(of_profile(found.model, found.draws, truths))
    return scores


def under(found: Inference, censor: Profile) -> Floats:
    """Return how probable each statement is under one censor, by some calls of each setting.

    Of what is not known about messengers, the first choices are taken.
    """
    studied = found.study
    first = np.zeros(len(studied.family.parameters))
    cells = {
        setting: [
            replace(cell_at(studied.family, setting, first, seed), censor=censor)
            for seed in range(1, _SEEDS + 1)
        ]
        for setting in {each.setting for each in found.model.statements}
    }
    studied.run([cell for each in cells.values() for cell in each], censor.name)
    truths = []
    for each in found.model.statements:
        kept = [studied.bank.get(cell) for cell in cells[each.setting]]
        held = [each.observed.holds(one.outcome) for one in kept if one is not None]
        truths.append(chance(each.calls, sum(held) / len(held)))
    return np.array(truths)
