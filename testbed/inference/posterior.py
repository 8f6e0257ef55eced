"""Weigh draws from the prior by how well they explain the reports.

Every draw is a row of the cube, and its weight is the probability of all reports under it
(importance sampling with the prior as the proposal). The weights are exact for the model; what is
random is which rows were drawn, and `effective` says how many equally weighted draws they are
worth. Because the probabilities of single reports are computed once, leaving reports out, other
priors, simulated reports and validation cost a matrix product each.

A different sampler, nested sampling by dynesty, gives the same answers from the same model
(`testbed.inference.nested`); inferences are compared with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from testbed.inference.draws import Floats, choice_of
from testbed.inference.report_likelihoods import Model, reported

_BINS = 10
"""The bins in which the information about a number is counted."""


@dataclass(frozen=True)
class Draws:
    """Rows from the prior, and what each says of the statements."""

    rows: Floats
    truths: Floats
    """How probable it is that each statement is true."""
    wrong: Floats
    """How probable it is that its source is wrong."""

    @cached_property
    def made(self) -> Floats:
        """The logarithm of how probable each report is to be made."""
        found: Floats = np.log(reported(self.truths, self.wrong))
        return found

    @cached_property
    def not_made(self) -> Floats:
        """The logarithm of how probable the opposite of each report is."""
        found: Floats = np.log1p(-reported(self.truths, self.wrong))
        return found

    def log_likelihood(self, answers: NDArray[np.bool_]) -> Floats:
        """Return the log-likelihood of each row for each row of answers to the statements."""
        given = answers.astype(float)
        found: Floats = self.made @ given.T + self.not_made @ (1 - given).T
        return found


def draw(model: Model, count: int, seed: int) -> Draws:
    """Return draws from the prior of everything that is not known."""
    rows = np.random.default_rng(seed).random((count, model.cube.size))
    return Draws(rows, model.truths(rows), model.wrong(rows))


@dataclass(frozen=True)
class Posterior:
    """Weighted draws: what is believed after reports."""

    model: Model
    draws: Draws
    weights: Floats
    """Their sum is 1."""
    log_evidence: float
    """The logarithm of how probable the reports were before they were made."""

    @property
    def effective(self) -> float:
        """How many equally weighted draws these are worth (Kish)."""
        return float(1 / (self.weights**2).sum())

    def box(self, name: str) -> Floats:
        """Return the coordinates of a box's parameters, a row for each draw."""
        return self.model.cube.box(self.draws.rows, name)

    def choices(self, box: str, parameter: str) -> dict[str, float]:
        """Return how probable each choice of a parameter is in a box."""
        family = self.model.cube.family
        chosen = self.chosen(box, parameter)
        names = list(family.parameters[parameter].choices)
        found = np.bincount(chosen, self.weights, len(names))
        return dict(zip(names, map(float, found), strict=True))

    def chosen(self, box: str, parameter: str) -> NDArray[np.intp]:
        """Return the number of the choice in a box for each draw."""
        family = self.model.cube.family
        u = self.box(box)[:, family.names.index(parameter)]
        return choice_of(family.parameters[parameter], u)

    def quantiles(self, box: str, parameter: str, shares: Floats, there: Floats) -> Floats:
        """Return quantiles of a number in a box, among the draws for which `there` is 1."""
        family = self.model.cube.family
        low, high = family.parameters[parameter].between or (0.0, 1.0)
        u = self.box(box)[:, family.names.index(parameter)]
        return low + (high - low) * weighted_quantiles(u, self.weights * there, shares)

    def bits(self, box: str, parameter: str) -> float:
        """Return how much was learnt about a parameter: its divergence from the prior (bits).

        What chance alone would show is subtracted (Miller and Madow's correction).
        """
        family = self.model.cube.family
        if choices := family.parameters[parameter].choices:
            now = np.array(list(self.choices(box, parameter).values()))
            before = np.array(list(choices.values()))
        else:
            u = self.box(box)[:, family.names.index(parameter)]
            now, _ = np.histogram(u, _BINS, (0, 1), weights=self.weights)
            before = np.full(_BINS, 1 / _BINS)
        some = now > 0
        found = float((now[some] * np.log2(now[some] / before[some])).sum())
        return max(0.0, found - (len(now) - 1) / (2 * self.effective * float(np.log(2))))

    @property
    def reproduced(self) -> Floats:
        """How probable it is that each statement is true, by what is believed now."""
        found: Floats = self.weights @ self.draws.truths
        return found

    @property
    def misreported(self) -> Floats:
        """How probable it is that the source of each report was wrong."""
        made = np.exp(self.draws.made)
        wrong = self.draws.wrong * (1 - self.draws.truths) / made
        found: Floats = self.weights @ wrong
        return found


def weigh(model: Model, draws: Draws, answers: NDArray[np.bool_] | None = None) -> Posterior:
    """Return the posterior; `answers` are to each statement, by default that all were reported."""
    if answers is None:
        answers = np.ones(len(model.statements), bool)
    log = draws.log_likelihood(answers[None])[:, 0]
    return _of(model, draws, log)


def weigh_some(model: Model, draws: Draws, used: NDArray[np.bool_]) -> Posterior:
    """Return the posterior by some of the reports alone."""
    return _of(model, draws, draws.made[:, used].sum(1))


def _of(model: Model, draws: Draws, log: Floats) -> Posterior:
    total = float(logsumexp(log))
    weights: Floats = np.exp(log - total)
    return Posterior(model, draws, weights, total - float(np.log(len(log))))


def evidence(draws: Draws, answers: NDArray[np.bool_]) -> Floats:
    """Return the logarithm of how probable each row of answers is under the prior."""
    sample = slice(0, 20_000)  # enough for a mean of likelihoods, and a tenth of the memory
    some = Draws(draws.rows[sample], draws.truths[sample], draws.wrong[sample])
    log = some.log_likelihood(answers)
    found: Floats = logsumexp(log, axis=0) - np.log(len(some.rows))
    return found


def weighted_quantiles(values: Floats, weights: Floats, shares: Floats) -> Floats:
    """Return the values below which shares of the weight lie; nan without any weight."""
    if not weights.sum():
        return np.full(len(shares), np.nan)
    order = np.argsort(values)
    sums = np.cumsum(weights[order])
    place = np.searchsorted(sums, shares * sums[-1])
    found: Floats = values[order][np.minimum(place, len(values) - 1)]
    return found
