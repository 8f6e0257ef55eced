"""Find which observation would tell most about the mechanism, for what it risks.

An observation has two answers. Its expected information about a parameter is the mutual
information: how uncertain the answer is now, minus how uncertain it would be if the parameter were
known. It counts the noise of the answer: most of several calls, by a source that may be wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from testbed.experiment.hypotheses import Observation
from testbed.inference.draws import Floats
from testbed.inference.posterior import Posterior
from testbed.inference.report_likelihoods import reported, truth

_WRONG = 0.05
"""How often an observation that is made with care is wrong; assumed."""


@dataclass(frozen=True)
class Expected:
    """What is expected of an observation."""

    observation: Observation
    yes: float
    """How probable it is that the answer is yes."""
    bits: float
    """The expected information about the mechanisms (bits)."""
    about: str
    """The parameter of which it tells most."""

    @property
    def per_risk(self) -> float:
        """The expected information for each unit of risk to the observer."""
        return self.bits / self.observation.risk


def expected(posterior: Posterior, box: str) -> list[Expected]:
    """Return what is expected of each observation of the family, the best for its risk first.

    Of equal ones, those that are already public come first.
    """
    family = posterior.model.cube.family
    points = posterior.box(box)
    found = []
    for each in family.observations:
        share = posterior.model.share(each.setting, each.observed, points)
        yes = reported(truth(each.calls, share), np.full(len(share), _WRONG))
        about = {
            name: mutual(posterior.weights, yes, posterior.chosen(box, name))
            for name, parameter in family.parameters.items()
            if parameter.choices and parameter.about == "censor"
        }
        best = max(about, key=lambda name: about[name])
        found.append(Expected(each, float(posterior.weights @ yes), about[best], best))
    return sorted(found, key=lambda e: (-round(e.per_risk, 3), not e.observation.public))


def mutual(weights: Floats, yes: Floats, groups: NDArray[np.intp]) -> float:
    """Return the mutual information of an answer and of what groups draws (bits)."""
    count = int(groups.max()) + 1
    sums = np.bincount(groups, weights, count)
    of_yes = np.bincount(groups, weights * yes, count)
    some = sums > 0
    within = float((sums[some] * entropy(of_yes[some] / sums[some])).sum())
    return max(0.0, float(entropy(np.array([weights @ yes]))[0]) - within)


def entropy(chances: Floats) -> Floats:
    """Return the entropy of answers that are yes with these probabilities (bits)."""
    p = np.clip(chances, 1e-12, 1 - 1e-12)
    found: Floats = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
    return found
