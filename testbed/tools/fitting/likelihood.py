"""Maximises likelihoods and inverts them into intervals.

An interval of 95 % is the set of values whose profile likelihood is within 1.92 of the maximum
(half of the 95 % quantile of chi-squared with one degree of freedom: Wilks, Ann. Math. Stat. 9,
1938).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
from scipy.optimize import minimize
from scipy.stats import chi2

from testbed.tools.fitting.columns import Floats

DROP = float(chi2.ppf(0.95, 1)) / 2
_FIRST_STEP, _GROWTH, _MAX_STEPS, _EXACT = 1e-4, 1.7, 60, 1e-3
_EVALUATIONS = 400

LogLikelihood = Callable[[Floats], float]


@dataclass(frozen=True)
class Optimum:
    """Where a likelihood is highest."""

    at: Floats
    log_likelihood: float


def highest(function: LogLikelihood, starts: Sequence[Sequence[float] | Floats]) -> Optimum:
    """Return the highest point that the simplex method finds from any of the starts."""
    best = Optimum(np.asarray(starts[0], dtype=float), -inf)
    for start in starts:
        found = minimize(
            lambda at: -function(at),
            np.asarray(start, dtype=float),
            method="Nelder-Mead",
            options={"maxfev": _EVALUATIONS, "xatol": 1e-6, "fatol": 1e-4},
        )
        if -found.fun > best.log_likelihood:
            best = Optimum(np.asarray(found.x), float(-found.fun))
    return best


def profile_interval(
    function: LogLikelihood, best: Optimum, index: int, scale: float = 1.0
) -> tuple[float, float]:
    """Return the interval of a coordinate; the others are maximised at each of its values.

    `scale` is a rough size of the interval, in the coordinate's unit.
    """
    return _end(function, best, index, -scale), _end(function, best, index, scale)


def _end(function: LogLikelihood, best: Optimum, index: int, scale: float) -> float:
    """Return the end of a profile interval in the direction of `scale`."""
    others = np.delete(best.at, index)

    def fall(value: float) -> float:
        nonlocal others
        if not len(others):
            return best.log_likelihood - function(np.array([value]))
        found = highest(lambda rest: function(np.insert(rest, index, value)), [others])
        if found.log_likelihood > -inf:
            others = found.at
        return best.log_likelihood - found.log_likelihood

    return _crossing(fall, float(best.at[index]), scale)


def _crossing(fall: Callable[[float], float], centre: float, scale: float) -> float:
    """Return where a function of the distance from `centre` exceeds `DROP`; inf if nowhere."""
    inside, step = centre, scale * _FIRST_STEP
    for _ in range(_MAX_STEPS):
        outside = centre + step
        if fall(outside) > DROP:
            break
        inside, step = outside, step * _GROWTH
    else:
        return inf if scale > 0 else -inf
    while abs(outside - inside) > _EXACT * abs(outside - centre):
        middle = (inside + outside) / 2
        if fall(middle) > DROP:
            outside = middle
        else:
            inside = middle
    return outside
