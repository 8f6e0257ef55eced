"""Say how certain an answer is, what limits it, and what it cannot tell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from testbed.analysis.comparison import Comparison
from testbed.analysis.statistics import CONFIDENCE, coverage_limit
from testbed.show.answer.standing import Standing
from testbed.show.answer.wording import few, listed


def cautions(compared: Sequence[Comparison], standings: Iterable[Standing]) -> list[str]:
    """Return sentences on the certainty of an answer and on its limits."""
    counts = sorted({c.calls for c in compared})
    n = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    lines = [
        f"n = {n} {'call' if n == '1' else 'calls'} of each kind, which differ only in their seed. "
        f"Intervals of shares are Wilson's, at {CONFIDENCE:.0%}; differences from direct calls are "
        "paired by seed (Newcombe)." + _of_few(counts[0]),
        *_engines(c.key.messenger for c in compared),
    ]
    some = [f"{s.name} ({len(s.assumed)} of {s.facts})" for s in standings if s.assumed]
    if some:
        lines.append(
            "Some facts of the censor profiles are assumed, because no source gives them: "
            f"{listed(some)}."
        )
    lines.append(
        "R takes EVS at 24.4 kbit/s as proxy for Opus, which has no published impairment values."
    )
    return lines


def unknown(standings: Iterable[Standing]) -> list[str]:
    """Return sentences on what a run cannot tell."""
    stands = [each for each in standings if not each.is_made_up]
    if not stands:
        return []
    numbers = dict.fromkeys(fact for each in stands for fact in each.assumed)
    lines = []
    if numbers:
        lines.append(f"Assumed, because no source says it: {few(list(numbers))}.")
    lines.append(
        "Unknown: whether it holds at other times than the profile's, on other lines, and with "
        "other operators than those of the reports."
    )
    return lines


def _of_few(n: int) -> str:
    """Return a caution about the interval of a median of few calls; empty if n is large enough."""
    if n == 1:
        return " With a single call there is no range of R, so that all share one rank."
    if (sure := coverage_limit(n)) < CONFIDENCE:
        return (
            f" With n = {n}, the range of R contains the true median with a probability of at most "
            f"{sure:.0%}, so a shared rank says little."
        )
    return ""


def _engines(titles: Iterable[str]) -> list[str]:
    names = list(dict.fromkeys(titles))
    models = [name for name in names if name.endswith("(model)")]
    engines = [name for name in names if name.endswith("(engine)")]
    lines = []
    if models:
        lines.append(
            f"{listed(models)}: a model of the messenger's exchanges, not its program. Models "
            "adapt to loss only where their file has a source for it, and never change their "
            "bitrate, as real engines may."
        )
    if engines:
        lines.append(f"{listed(engines)}: the messenger's real, published call engine.")
    return lines
