"""Score predictions of reports that were left out, source by source.

The reports of one source are predicted from those of all others. What is predicted is whether the
calls worked, as only that has the same meaning in all reports: a prediction is the probability that
the report says so, with what is believed of its source. The log score (bits) and the Brier score
are means over reports; less is better in both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from testbed.inference.draws import Floats
from testbed.inference.posterior import Draws, Posterior, weigh_some
from testbed.inference.report_likelihoods import Model, Statement, reported

_LEAST = 0.02
"""No prediction is more certain than this, or one wrong certainty would decide the log score."""


@dataclass(frozen=True)
class Score:
    """How well something predicted the reports that were left out."""

    name: str
    log_bits: float
    brier: float
    predictions: tuple[float, ...]
    """By report: the probability that was given to its being made as it was."""
    threads: tuple[str, ...]
    """By report: its source, all of whose reports were left out together."""

    def worse_than(self, other: Score) -> tuple[float, float]:
        """Return by how many bits its log score is worse, and the standard error over sources."""
        bits = np.log2(_kept(other.predictions)) - np.log2(_kept(self.predictions))
        names = list(dict.fromkeys(self.threads))
        away = bits - bits.mean()
        sums = [sum(b for b, t in zip(away, self.threads, strict=True) if t == n) for n in names]
        return float(bits.mean()), float(np.sqrt(np.sum(np.square(sums))) / len(bits))


def scored(model: Model) -> NDArray[np.intp]:
    """Return the numbers of the statements that say whether calls work."""
    works = [n for n, each in enumerate(model.statements) if each.observed.works is not None]
    return np.array(works, dtype=int)


def leave_sources_out(model: Model, draws: Draws) -> list[Score]:
    """Return the scores of the inference, of the prior, and of the base rate of other sources."""
    places = scored(model)

    def inferred(place: int, others: NDArray[np.bool_]) -> float:
        return _made(weigh_some(model, draws, others), place)

    def prior(place: int, others: NDArray[np.bool_]) -> float:
        del others
        return float(np.exp(draws.made[:, place]).mean())

    def base_rate(place: int, others: NDArray[np.bool_]) -> float:
        said = [model.statements[n].observed.works for n in places if others[n]]
        works = model.statements[place].observed.works
        return (sum(1 for each in said if each == works) + 1) / (len(said) + 2)

    ways = {"inference": inferred, "prior": prior, "base rate": base_rate}
    return [score(name, model.statements, places, way) for name, way in ways.items()]


def of_profile(model: Model, draws: Draws, truths: Floats) -> Score:
    """Return the score of a single censor, under which statements are true with known shares.

    `truths` are these shares, one for each statement. Its sources are wrong as often as is believed
    before any report.
    """
    wrong = draws.wrong.mean(axis=0)
    chances = reported(truths, wrong)
    places = scored(model)
    return score("the assumed profile", model.statements, places, lambda n, _: float(chances[n]))


def score(
    name: str,
    statements: Sequence[Statement],
    places: NDArray[np.intp],
    predict: Callable[[int, NDArray[np.bool_]], float],
) -> Score:
    """Return the score of a way to predict a report from those of other sources."""
    sources = np.array([_thread(each) for each in statements])
    given = [predict(int(n), sources != sources[n]) for n in places]
    chances = _kept(given)
    log = float(-np.log2(chances).mean())
    brier = float(((1 - chances) ** 2).mean())
    return Score(name, log, brier, tuple(map(float, chances)), tuple(map(str, sources[places])))


def _kept(chances: Sequence[float]) -> Floats:
    found: Floats = np.clip(np.asarray(chances), _LEAST, 1 - _LEAST)
    return found


def _thread(statement: Statement) -> str:
    """Return the source without remarks on it, so that all reports of a thread are left out."""
    return statement.source.partition(" (")[0].partition(";")[0].partition(":")[0]


def _made(posterior: Posterior, place: int) -> float:
    return float(posterior.weights @ np.exp(posterior.draws.made[:, place]))


def bits_of_each(model: Model, draws: Draws) -> Floats:
    """Return how many bits each report carries that the others do not.

    This is the divergence of what is believed with it from what is believed without it.
    """
    everything = np.ones(len(model.statements), bool)
    now = weigh_some(model, draws, everything).weights
    found = []
    for place in range(len(model.statements)):
        without = everything.copy()
        without[place] = False
        before = weigh_some(model, draws, without).weights
        some = now > 0
        found.append(float((now[some] * np.log2(now[some] / before[some])).sum()))
    return np.array(found)
