"""Answer a run's question in words: dated, scoped, the best first, with what is not known.

The answer says what happened in the lab and under which assumptions. It is never an order, and it
names no tool where the evidence is weak or old, because people may rely on it. Its parts:

    headline    what was found: which transports kept calls usable, or up to which swept value
    statements  the same for each censor, in more detail
    standing    how well a censor profile is supported, and how old that is
    wording     counts, names, apps and lists in words, and the wording of a ranking
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from testbed.analysis.comparison import Comparison
from testbed.analysis.sweeps import Limit
from testbed.record.manifest import Manifest
from testbed.show.answer.cautions import cautions, unknown
from testbed.show.answer.headline import Headline, headline
from testbed.show.answer.standing import Standing, standing
from testbed.show.answer.statements import Statement, statements
from testbed.show.answer.wording import Known, needs
from testbed.show.drawing.words import tied


@dataclass(frozen=True)
class Answer:
    """A run's answer to its question; all of it is sentences."""

    headline: Sequence[str]
    """What was found, the best first."""
    needs: Sequence[str]
    """What the transports of the headline need, and at which end."""
    unknown: Sequence[str]
    """What the run cannot tell."""
    cautions: Sequence[str]
    """How certain the answer is, and what limits it."""
    by_censor: Mapping[str, Sequence[Statement]]
    """What holds under each censor, in the run's order."""


def answer(
    compared: Sequence[Comparison],
    limits: Sequence[Limit],
    manifest: Manifest,
    known: Known,
    today: date,
) -> Answer:
    """Return the answer to a run's question.

    `limits` are those of a run that sweeps a number, `known` is what is known of transports, and
    `today` decides whether a profile was checked too long ago.
    """
    standings = _standings(compared, manifest, today)
    # A name that a scenario chose stands for the transport of its kind.
    chosen = manifest.definitions.transports.items()
    known = {**known, **{name: known[one.kind] for name, one in chosen if one.kind in known}}
    found = headline(compared, limits, standings, known)
    named = needs(found.named, known) if found.named else []
    return Answer(
        _tied(found.lines),
        _tied(named),
        _tied(unknown(standings.values())),
        _tied(cautions(compared, standings.values())),
        {
            censor: statements([c for c in compared if c.key.censor == censor])
            for censor in dict.fromkeys(c.key.censor for c in compared)
        },
    )


def _standings(
    compared: Sequence[Comparison], manifest: Manifest, today: date
) -> dict[str, Standing]:
    """Return the standing of each censor whose definition the record has, except `open`."""
    found = {}
    for censor in dict.fromkeys(c.key.censor for c in compared):
        name = censor.partition(" over ")[0]
        restriction = manifest.definitions.censors.get(name)
        if restriction is not None and any(part.rules for part in restriction.parts):
            found[censor] = standing(name, restriction, today)
    return found


def _tied(lines: Sequence[str]) -> list[str]:
    return [tied(line) for line in lines]


__all__ = ["Answer", "Headline", "Standing", "Statement", "answer"]
