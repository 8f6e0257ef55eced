"""Draw censors from a family's prior, as points of a unit cube.

Each parameter has a coordinate between 0 and 1: of a number it is the place between its two ends,
of choices it falls into one of intervals that are as long as the choices are probable. A uniform
point is therefore a draw from the prior, and whatever is sampled is sampled in the cube.

Middleboxes differ. Each *box* (a period and a kind of line) has coordinates of its own, which are
related to those of the others by a Gaussian copula: with the correlation r of the family,

    u_box = Phi( sqrt(r) * Phi^-1(u_common) + sqrt(1 - r) * Phi^-1(u_own) )

Two boxes then have correlation r, and each alone has exactly the prior. What is about messengers is
the same everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from testbed.experiment.hypotheses import Family, Parameter, Values

Floats = NDArray[np.float64]
_EDGE = 1e-9
"""Coordinates are kept this far from 0 and 1, where the normal quantile is infinite."""


def design(family: Family, count: int, seed: int) -> Floats:
    """Return points for simulations, one per row, that fill the cube evenly (a Sobol sequence).

    The first points of a longer design are those of a shorter one.
    """
    from scipy.stats import qmc  # noqa: PLC0415 - takes a second

    sobol = qmc.Sobol(len(family.parameters), rng=np.random.default_rng(seed))
    points: Floats = sobol.random_base2(max(0, int(np.ceil(np.log2(max(count, 1))))))
    return points[:count]


def values_of(family: Family, point: Floats) -> Values:
    """Return the value of each parameter at a point of the cube."""
    return {
        name: _value(parameter, float(u))
        for (name, parameter), u in zip(family.parameters.items(), point, strict=True)
    }


def _value(parameter: Parameter, u: float) -> str | float:
    if parameter.between is not None:
        low, high = parameter.between
        return round(low + (high - low) * u, 4)  # a number that people can read in a profile
    return list(parameter.choices)[int(choice_of(parameter, np.array([u]))[0])]


def choice_of(parameter: Parameter, u: Floats) -> NDArray[np.intp]:
    """Return, for each coordinate, the number of the choice in whose interval it is."""
    ends = np.cumsum(list(parameter.choices.values()))[:-1]
    return np.searchsorted(ends, u, side="right")


@dataclass(frozen=True)
class Cube:
    """The coordinates of everything that is not known, and where each is in a row of the cube."""

    family: Family
    boxes: Sequence[str]

    @property
    def size(self) -> int:
        """The number of coordinates."""
        own = len(self.boxes) * len(self._of_censor)
        return len(self.family.parameters) + 1 + len(self.family.misreports) + own

    @property
    def _of_censor(self) -> list[int]:
        parameters = self.family.parameters.values()
        return [n for n, each in enumerate(parameters) if each.about == "censor"]

    def box(self, rows: Floats, name: str) -> Floats:
        """Return the coordinates of one box's parameters, for each row of the cube."""
        common, own = rows[:, : len(self.family.parameters)], self._own(rows, name)
        alike = self.alike(rows)[:, None]
        found = common.copy()
        mixed = np.sqrt(alike) * _normal(common[:, self._of_censor])
        mixed += np.sqrt(1 - alike) * _normal(own)
        found[:, self._of_censor] = ndtr(mixed)
        return found

    def alike(self, rows: Floats) -> Floats:
        """Return the correlation of boxes, for each row of the cube."""
        low, high = self.family.alike
        u: Floats = rows[:, len(self.family.parameters)]
        return low + (high - low) * u

    def misreport(self, rows: Floats, source_class: str) -> Floats:
        """Return the probability that a class of sources is wrong, for each row of the cube."""
        place = list(self.family.misreports).index(source_class)
        low, high = self.family.misreports[source_class].between
        u: Floats = rows[:, len(self.family.parameters) + 1 + place]
        return low + (high - low) * u

    def _own(self, rows: Floats, name: str) -> Floats:
        width = len(self._of_censor)
        start = self.size - width * (len(self.boxes) - list(self.boxes).index(name))
        return rows[:, start : start + width]


def _normal(u: Floats) -> Floats:
    found: Floats = ndtri(np.clip(u, _EDGE, 1 - _EDGE))
    return found
