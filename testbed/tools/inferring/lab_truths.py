"""Infer truths back whose reports are calls in the lab.

Reports that the emulators simulate cannot show that the emulators are wrong. So each truth is also
tried in the lab: calls of the settings of the reports are made under its censor, with seeds of
their own, and each report is about one such call. The emulators were not given these calls.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from testbed.experiment.reports import Setting
from testbed.inference.draws import Cube, Floats
from testbed.inference.posterior import Draws, draw
from testbed.inference.report_likelihoods import Model, Statement
from testbed.inference.simulated_truths import Validation, validate
from testbed.tools.inferring.cells import cell_at
from testbed.tools.inferring.study import Inference, Study

BOX = "one box of the lab"
_MOST_OF_A_SETTING = 2
"""So many kinds of observation are reported of each setting: each is a call of its own."""
_SEEDS_FROM, _SEEDS_EACH = 20_000, 10_000
"""Seeds of other calls are below."""


def lab_model(found: Inference) -> Model:
    """Return a model of one box and of one call for each kind of observation.

    Settings whose calls come to the same under nearly all censors are left out.
    """
    varying = set(found.study.varying())
    stated: dict[Setting, dict[str, Statement]] = {}
    for each in found.model.statements:
        of_setting = stated.setdefault(each.setting, {})
        if each.setting in varying and len(of_setting) < _MOST_OF_A_SETTING:
            of_setting.setdefault(str(each.observed), replace(each, box=BOX, calls="one"))
    chosen = [each for of_setting in stated.values() for each in of_setting.values()]
    cube = Cube(found.study.family, [BOX])
    return Model(cube, tuple(chosen), found.model.settings)


def of_calls(found: Inference, truths: int, draws: int, seed: int) -> Validation:
    """Return how truths were inferred back from calls that were made in the lab."""
    model = lab_model(found)
    rng = np.random.default_rng(seed)
    rows = rng.random((truths, model.cube.size))
    real = Draws(rows, model.truths(rows), model.wrong(rows))
    answers = called(found.study, model, rows) ^ (rng.random(real.wrong.shape) < real.wrong)
    return validate(model, BOX, draw(model, draws, seed + 1), real, seed, answers)


def called(studied: Study, model: Model, rows: Floats) -> NDArray[np.bool_]:
    """Return whether each statement holds of a call under the censor of each row."""
    points = model.cube.box(rows, BOX)
    cells = [
        [
            cell_at(studied.family, each.setting, point, _SEEDS_FROM + _SEEDS_EACH * k + n)
            for k, each in enumerate(model.statements)
        ]
        for n, point in enumerate(points)
    ]
    studied.run([cell for row in cells for cell in row], "truths in the lab")
    found = np.zeros((len(rows), len(model.statements)), bool)
    for n, row in enumerate(cells):
        for k, (cell, each) in enumerate(zip(row, model.statements, strict=True)):
            kept = studied.bank.get(cell)
            found[n, k] = kept is not None and each.observed.holds(kept.outcome)
    return found
