"""Validate an inference: by simulated truths, by calls it was not given, and by reports left out.

- Truths from the prior, whose reports are simulated by the emulators, test the weights
  (`testbed.inference.simulated_truths`); those whose reports are calls in the lab test the
  emulators as well (`testbed.tools.inferring.lab_truths`).
- Calls of the bank test the emulators: those under each eighth of the points are predicted by
  emulators that were given the others.
- Worlds outside of the family test whether the inference abstains
  (`testbed.tools.inferring.outside`).
- Reports of each source are predicted by those of the others, and so they are by the prior, by the
  profile that was assumed before, and by how often other reports say that calls work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from testbed.experiment.reports import Setting
from testbed.experiment.scenario import load_censor
from testbed.inference.draws import Floats
from testbed.inference.emulator import fit, log_loss
from testbed.inference.posterior import draw, weigh_some
from testbed.inference.prediction_scores import Score, leave_sources_out, of_profile
from testbed.inference.simulated_truths import Validation, validate
from testbed.tools.inferring.lab_truths import of_calls
from testbed.tools.inferring.outside import WORLDS, Outside, outside, under
from testbed.tools.inferring.study import Inference, Study

_FOLDS = 8


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
    """Of reports that the emulators simulated."""
    of_calls: Validation | None
    """Of reports that are calls in the lab; None: no calls were made for it."""
    untold: Mapping[str, float]
    """The parameters that reports of direct calls must leave as they were, and how far they did
    not."""
    emulators: tuple[Predicted, ...]
    outside: tuple[Outside, ...]
    scores: tuple[Score, ...]


def tried(found: Inference, truths: int, draws: int, seed: int, *, lab: bool = True) -> Trials:
    """Return how an inference does; `truths` are simulated, and `draws` weighted for each.

    Without `lab` no calls are made: neither under truths nor under censors outside of the family.
    """
    model = found.model
    boxes = [each.box for each in model.statements]
    box = max(model.cube.boxes, key=boxes.count)
    believed = draw(model, draws, seed + 1)
    real = draw(model, truths, seed + 2)
    return Trials(
        box,
        validate(model, box, believed, real, seed),
        of_calls(found, truths, draws, seed + 3) if lab else None,
        untold(found),
        tuple(predicted(found.study)),
        tuple(outside(found, believed, box, seed, WORLDS if lab else ())),
        tuple(_scores(found, lab=lab)),
    )


def predicted(studied: Study) -> list[Predicted]:
    """Return how well emulators predict the calls under points that they were not given."""
    found = []
    for setting, asked in studied.observed.items():
        calls = studied.calls[setting]
        given = studied.features(setting)(np.array(calls.points))
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


def _scores(found: Inference, *, lab: bool) -> list[Score]:
    scores = leave_sources_out(found.model, found.draws)
    if lab and (name := found.study.reports.assumed_profile):
        truths = under(found, load_censor(name))
        scores.append(of_profile(found.model, found.draws, truths))
    return scores


def untold(found: Inference) -> dict[str, float]:
    """Return the parameters that direct calls do not depend on, and how far these moved them.

    This is the largest difference from the prior's probability of a choice, in any box, by the
    reports of direct calls alone.
    """
    model, family = found.model, found.study.family
    direct = np.array([each.setting.transport == "direct" for each in model.statements])
    settings = {each.setting for each in model.statements if each.setting.transport == "direct"}
    posterior = weigh_some(model, found.draws, direct)
    given = [model.settings[each].features for each in settings]
    used = {name for each in given for name in each.open if name not in each.idle}
    inspected = {name for each in given for name in each.open} - used
    return {
        name: max(
            abs(now - prior)
            for box in model.cube.boxes
            for now, prior in zip(
                posterior.choices(box, name).values(),
                family.parameters[name].choices.values(),
                strict=True,
            )
        )
        for name in sorted(inspected)
    }
