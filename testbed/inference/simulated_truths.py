"""Check an inference by truths that are known: simulated from the prior, and inferred back.

If truths are drawn from the prior and reports from the model, the rank of each truth among draws
from its posterior is uniform (simulation-based calibration: Talts et al., arXiv 1804.06788), and an
interval of 90 % contains 90 % of the truths. Returning the prior would pass both, so contraction is
measured as well: by how much the variance shrinks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from testbed.inference.draws import Floats
from testbed.inference.posterior import Draws, evidence
from testbed.inference.report_likelihoods import Model

RANKS = 99
"""The draws from each posterior among which a truth is ranked."""
BINS = 10
_UNIFORM_VARIANCE = 1 / 12


@dataclass(frozen=True)
class Calibration:
    """How truths were inferred back, for one coordinate."""

    name: str
    ranks: NDArray[np.intp]
    """The rank of each truth, from 0 to `RANKS`."""
    contraction: float
    """1 - the posterior's variance over the prior's, in the mean over truths."""

    @property
    def histogram(self) -> NDArray[np.intp]:
        """The number of truths by their rank, in equal bins."""
        found, _ = np.histogram(self.ranks, BINS, (-0.5, RANKS + 0.5))
        return found

    def coverage(self, level: float) -> float:
        """Return the share of truths within the central interval of a probability."""
        outside = (1 - level) / 2
        place = (self.ranks + 0.5) / (RANKS + 1)
        return float(((place > outside) & (place < 1 - outside)).mean())


@dataclass(frozen=True)
class Validation:
    """How truths were inferred back."""

    coordinates: tuple[Calibration, ...]
    truths: int
    least_effective: float
    """The least number of effective draws behind one of the posteriors."""
    abstained: float
    """The share of these truths, which are of the family, for which the inference abstained."""

    @property
    def band(self) -> tuple[float, float]:
        """The counts between which all bins of all histograms lie, in 95 % of validations."""
        return band(self.truths, len(self.coordinates))

    @property
    def outside(self) -> list[str]:
        """The names of the coordinates whose histogram leaves the band."""
        low, high = self.band
        found = ((each.name, each.histogram) for each in self.coordinates)
        return [name for name, counts in found if counts.min() < low or counts.max() > high]


def band(truths: int, histograms: int) -> tuple[float, float]:
    """Return the simultaneous band of 95 % for the counts of several histograms of uniform ranks.

    It is simulated with a fixed seed.
    """
    rng = np.random.default_rng(0)
    made = rng.multinomial(truths, np.full(BINS, 1 / BINS), size=(2000, histograms))
    farthest = np.abs(made - truths / BINS).max(axis=(1, 2))
    half = float(np.quantile(farthest, 0.95))
    return truths / BINS - half, truths / BINS + half


def validate(
    model: Model,
    box: str,
    draws: Draws,
    truths: Draws,
    seed: int,
    answers: NDArray[np.bool_] | None = None,
) -> Validation:
    """Return how the truths were inferred back: the parameters of one box.

    `truths` are draws from the prior that are not among `draws`; `answers` are what was reported
    under each of them, by default simulated by the model itself.
    """
    rng = np.random.default_rng(seed)
    if answers is None:
        answers = simulated(truths, rng)
    log = draws.log_likelihood(answers)
    weights = np.exp(log - log.max(axis=0))
    weights /= weights.sum(axis=0)
    names = model.cube.family.names
    believed, real = (model.cube.box(each.rows, box) for each in (draws, truths))
    ranks = np.zeros(real.shape, dtype=int)
    variances = np.zeros(real.shape)
    for place, truth in enumerate(real):
        some = believed[rng.choice(len(believed), RANKS, p=weights[:, place])]
        ranks[place] = (some < truth).sum(axis=0)
        variances[place] = some.var(axis=0, ddof=1)
    contractions = 1 - variances.mean(axis=0) / _UNIFORM_VARIANCE
    return Validation(
        tuple(Calibration(n, ranks[:, k], float(contractions[k])) for k, n in enumerate(names)),
        len(real),
        float((1 / (weights**2).sum(axis=0)).min()),
        float((surprises(draws, answers, seed) < ABSTAIN).mean()),
    )


def simulated(truths: Draws, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return simulated answers to each statement, a row for each truth."""
    found: NDArray[np.bool_] = rng.random(truths.made.shape) < np.exp(truths.made)
    return found


ABSTAIN = 0.05
"""If reports of the family's censors are as improbable as the real ones only in this share of
cases, the inference abstains. So it abstains for one true case in twenty."""


def surprises(draws: Draws, answers: NDArray[np.bool_], seed: int, sets: int = 1000) -> Floats:
    """Return, for each row of answers, how often the family's own reports are as improbable."""
    rng = np.random.default_rng(seed)
    chosen = rng.integers(len(draws.rows), size=sets)
    made = rng.random((sets, draws.made.shape[1])) < np.exp(draws.made[chosen])
    usual = np.sort(evidence(draws, made))
    found: Floats = np.searchsorted(usual, evidence(draws, answers), side="right") / sets
    return found
