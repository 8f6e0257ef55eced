"""Rank transports by whether calls are usable under the censors that reports leave over.

A sample of what is believed of a box is tried, one call under each censor, with the same censors
and seeds for every transport, so that two transports are compared in pairs. After a third of the
censors a transport is dropped that is certainly worse than the best one; the rest of the calls go
to those that are still in question.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from testbed.analysis.statistics import Estimate, share, share_effect
from testbed.call.quality.usable import AS_THEY_ARE, OwnThresholds, is_usable
from testbed.call.quality.verdict import INTERMITTENT_CONCEALED_SHARE, SET_UP_PROMPT_S
from testbed.experiment.hypotheses import Values
from testbed.experiment.reports import Setting
from testbed.inference.draws import Floats, values_of
from testbed.run.bank import Kept
from testbed.tools.inferring.cells import cell_at
from testbed.tools.inferring.study import Inference, Study

_SEEDS_FROM = 10_000
"""Seeds of other calls are below."""
_FIRST = 3
"""After one in so many censors, transports that are certainly worse are dropped."""


@dataclass(frozen=True)
class Ranked:
    """How a transport does under the censors that are left over."""

    transport: str
    usable: Estimate
    """The share of calls that are usable, over censors and seeds."""
    to_best: Estimate | None
    """The difference to the best one, in pairs; None for the best itself."""
    rank: int
    """1 for the best and all that cannot be told from it."""
    fails_under: Mapping[str, tuple[int, int]]
    """By a hypothesis: in how many of the censors under which it fails, and in how many of all, it
    holds; those of which it holds more often than of all."""

    @property
    def is_tied(self) -> bool:
        """Whether it is not the best one, but cannot be told from it."""
        return self.rank == 1 and self.to_best is not None


def censors_left(found: Inference, box: str, count: int) -> Floats:
    """Return points of a box that are drawn from what is believed."""
    rng = np.random.default_rng(found.study.effort.seed)
    chosen = rng.choice(len(found.posterior.weights), count, p=found.posterior.weights)
    return found.posterior.box(box)[chosen]


@dataclass(frozen=True)
class OtherThresholds:
    """Which transports come first if one of our own thresholds is another."""

    name: str
    first: tuple[str, ...]
    """The best one, and all that cannot be told from it."""


Calls = dict[str, dict[int, Kept]]
"""By transport and by the number of the censor: what the call came to."""
OTHERS = {
    "half as long a set-up": OwnThresholds(set_up_s=SET_UP_PROMPT_S / 2),
    "twice as long a set-up": OwnThresholds(set_up_s=SET_UP_PROMPT_S * 2),
    "half the concealed share": OwnThresholds(concealed_share=INTERMITTENT_CONCEALED_SHARE / 2),
    "twice the concealed share": OwnThresholds(concealed_share=INTERMITTENT_CONCEALED_SHARE * 2),
}
"""Each threshold of a usable call that no standard sets, halved and doubled."""


def rank(
    studied: Study, messenger: str, transports: Sequence[str], points: Floats
) -> tuple[list[Ranked], list[OtherThresholds]]:
    """Try the transports, and return them, the best first; and what other thresholds change.

    Which transports are dropped early is decided by the thresholds as they are.
    """
    calls: Calls = {transport: {} for transport in transports}
    first = max(1, len(points) // _FIRST)
    _try(studied, messenger, calls, points, range(first))
    worse = {each.transport for each in _ranked(_usable(calls), studied, points) if each.rank > 1}
    left = {transport: each for transport, each in calls.items() if transport not in worse}
    _try(studied, messenger, left, points, range(first, len(points)))
    others = [
        OtherThresholds(name, _first(_ranked(_usable(calls, own), studied, points)))
        for name, own in OTHERS.items()
    ]
    return _ranked(_usable(calls), studied, points), others


def _first(ranked: Sequence[Ranked]) -> tuple[str, ...]:
    return tuple(sorted(each.transport for each in ranked if each.rank == 1))


def _usable(calls: Calls, own: OwnThresholds = AS_THEY_ARE) -> dict[str, dict[int, bool]]:
    return {
        transport: {n: is_usable(kept.figures, own) for n, kept in of.items()}
        for transport, of in calls.items()
    }


def _try(
    studied: Study,
    messenger: str,
    calls: Calls,
    points: Floats,
    numbers: range,
) -> None:
    cells = {
        (transport, n): cell_at(
            studied.family, Setting(messenger, transport), points[n], _SEEDS_FROM + n
        )
        for n in numbers
        for transport in calls
    }
    studied.run(list(cells.values()), f"{messenger} by {len(calls)} transports")
    for (transport, n), cell in cells.items():
        if (kept := studied.bank.get(cell)) is not None:
            calls[transport][n] = kept


def _ranked(
    usable: Mapping[str, Mapping[int, bool]], studied: Study, points: Floats
) -> list[Ranked]:
    shares = {name: share(sum(each.values()), len(each)) for name, each in usable.items()}
    order = sorted(shares, key=lambda name: -shares[name].value)
    values = [values_of(studied.family, point) for point in points]
    found: list[Ranked] = []
    for name in order:
        to_best = None if name == order[0] else share_effect(usable[name], usable[order[0]])
        is_worse = to_best is not None and to_best.high < 0
        place = 1 + len(found) if is_worse else 1
        fails = [values[n] for n, works in usable[name].items() if not works]
        found.append(Ranked(name, shares[name], to_best, place, _telling(fails, values)))
    return found


def _telling(fails: Sequence[Values], values: Sequence[Values]) -> dict[str, tuple[int, int]]:
    """Return which choices are more frequent among the censors under which calls fail."""
    every = Counter(each for one in values for each in _choices(one))
    failing = Counter(each for one in fails for each in _choices(one))
    if not fails:
        return {}
    more = {
        name: failing[name] / len(fails) - every[name] / len(values)
        for name in failing
        if not name.endswith(": no")
    }
    telling = sorted((name for name in more if more[name] > 0.2), key=lambda name: -more[name])
    return {name: (failing[name], every[name]) for name in telling[:3]}


def _choices(values: Values) -> list[str]:
    return [f"{name}: {value}" for name, value in values.items() if isinstance(value, str)]
