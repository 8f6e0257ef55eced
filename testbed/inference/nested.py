"""Sample what is believed after reports by nested sampling, to check the weighted draws.

dynesty (Speagle, MNRAS 493 (2020) 3132) walks through the same cube with the same probabilities of
reports, but finds its points in another way: it shrinks the prior to where the likelihood is higher
and higher. If both agree, neither the number of draws nor the walk decided the answer.
"""

from __future__ import annotations

import numpy as np

from testbed.inference.draws import Floats
from testbed.inference.posterior import Draws, Posterior
from testbed.inference.report_likelihoods import Model, reported

_LIVE = 300
_PRECISION = 0.1
"""It ends when what is left could change the logarithm of the evidence by less."""


def sample(model: Model, seed: int) -> Posterior:
    """Return weighted points from nested sampling."""
    from dynesty import NestedSampler  # noqa: PLC0415 - an extra, and only used here

    def log_likelihood(point: Floats) -> float:
        row = point[None]
        chances = reported(model.truths(row), model.wrong(row))
        return float(np.log(chances).sum())

    sampler = NestedSampler(
        log_likelihood,
        lambda point: point,
        model.cube.size,
        nlive=_LIVE,
        bound="single",
        sample="rwalk",
        rstate=np.random.default_rng(seed),
    )
    sampler.run_nested(dlogz=_PRECISION, print_progress=False)
    found = sampler.results
    rows = np.asarray(found.samples, dtype=float)
    weights = np.exp(found.logwt - found.logz[-1])
    draws = Draws(rows, model.truths(rows), model.wrong(rows))
    return Posterior(model, draws, weights / weights.sum(), float(found.logz[-1]))


def largest_difference(one: Posterior, other: Posterior) -> tuple[str, str, float]:
    """Return the box and parameter whose choices' probabilities differ most, and by how much."""
    family = one.model.cube.family
    found = [
        (box, name, max(abs(a - b) for a, b in zip(*pair, strict=True)))
        for box in one.model.cube.boxes
        for name, parameter in family.parameters.items()
        if parameter.choices
        for pair in [[list(each.choices(box, name).values()) for each in (one, other)]]
    ]
    return max(found, key=lambda each: each[2])
