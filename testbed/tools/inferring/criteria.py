"""Say whether a validation shows what was fixed before it was run (decision 95)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from testbed.inference.simulated_truths import Validation
from testbed.tools.inferring.trials import Trials

TRUTHS = 300
COVERS = {0.5: (0.41, 0.59), 0.9: (0.85, 0.95)}
"""By the level of an interval: the least and the greatest share of truths in it."""
LEAST_CONTRACTION, CONTRACTED = 0.05, 3
"""So many parameters must contract by so much, or the reports tell nothing."""
UNTOLD_CONTRACTION, UNTOLD_MOVES = 0.03, 0.05
"""What reports cannot tell contracts and moves by no more."""
VARIES = (0.15, 0.85)
"""An outcome with a share between these must be predicted better than by the share alone."""
EXPECTED = 0.05
"""The mean prediction must be as near to the share."""
WRONG_OUTSIDE = 0.1
"""In no larger share of cases may a world outside of the family get a confident wrong answer."""


@dataclass(frozen=True)
class Criterion:
    """Something that had to be shown, and what was not; nothing: it was shown."""

    name: str
    failures: tuple[str, ...]


def criteria(trials: Trials) -> list[Criterion]:
    """Return what had to be shown, and in what it was not."""
    both = {"simulated reports": trials.calibration}
    if trials.of_calls is not None:
        both["calls in the lab"] = trials.of_calls
    no_calls = [] if trials.of_calls is not None else ["no calls were made for it in the lab"]
    found = {
        "ranks are uniform": [
            *(f"{name} ({of})" for of, made in both.items() for name in _not_uniform(made)),
            *no_calls,
        ],
        "intervals cover": [
            *(f"{text} ({of})" for of, made in both.items() for text in _misses(made)),
            *no_calls,
        ],
        "reports narrow something": [
            *(of for of, made in both.items() if _contracted(made) < CONTRACTED),
            *no_calls,
        ],
        "what reports cannot tell stays": [*_moved(trials, both), *no_calls],
        "emulators predict": list(_unpredicted(trials)),
        "no confident wrong answer outside of the family": [
            *(
                f"{each.world}: {100 * each.wrong:.0f} %"
                for each in trials.outside
                if each.wrong > WRONG_OUTSIDE
            ),
            *no_calls,
        ],
        "reports left out are predicted": list(_worse(trials)),
    }
    return [Criterion(name, tuple(failures)) for name, failures in found.items()]


def _not_uniform(made: Validation) -> list[str]:
    return ["too few truths"] if made.truths < TRUTHS else made.outside


def _misses(made: Validation) -> Iterator[str]:
    for each in made.coordinates:
        for level, (least, most) in COVERS.items():
            if not least <= (share := each.coverage(level)) <= most:
                yield f"{each.name}: {100 * level:.0f} % cover {100 * share:.0f} %"


def _contracted(made: Validation) -> int:
    return sum(each.contraction >= LEAST_CONTRACTION for each in made.coordinates)


def _moved(trials: Trials, validations: Mapping[str, Validation]) -> Iterator[str]:
    if not trials.untold:
        yield "no parameter was found that direct calls do not depend on"
    for name, by in trials.untold.items():
        if by > UNTOLD_MOVES:
            yield f"{name}: moved by {100 * by:.1f} points"
        for of, made in validations.items():
            found = next(each.contraction for each in made.coordinates if each.name == name)
            if abs(found) > UNTOLD_CONTRACTION:
                yield f"{name}: contraction {found:.3f} ({of})"


def _unpredicted(trials: Trials) -> Iterator[str]:
    for each in trials.emulators:
        if not VARIES[0] <= each.share <= VARIES[1]:
            continue
        where = f"{each.setting}: {each.observed}"
        if each.log_loss >= each.base_loss:
            yield f"{where}: {each.log_loss:.2f} against {each.base_loss:.2f}"
        if abs(each.expected - each.share) > EXPECTED:
            yield f"{where}: {each.expected:.2f} expected, {each.share:.2f} were"


def _worse(trials: Trials) -> Iterator[str]:
    by_name = {each.name: each for each in trials.scores}
    mine = by_name["inference"]
    for name in ("prior", "base rate"):
        if mine.log_bits >= by_name[name].log_bits:
            more, error = mine.worse_than(by_name[name])
            yield f"{more:.2f} bits worse than the {name} (standard error {error:.2f})"
