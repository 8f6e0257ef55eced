"""List the sources behind a censor, each with a link and its age, as far as its text tells them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from testbed.evidence import Evidence
from testbed.show.bibliography import address, sources

_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
_DATED = re.compile(
    rf"\b(?P<iso_year>20\d\d)-(?P<iso_month>0[1-9]|1[0-2])\b"
    rf"|\b(?P<month>{'|'.join(_MONTHS)}) (?P<year>20\d\d)\b|\b(?P<only_year>20\d\d)\b"
)


@dataclass(frozen=True)
class Cited:
    """A source, as the page cites it."""

    words: str
    link: str
    """Its address; empty if its text has none."""
    confidence: str
    age: str
    """How old it is, in words."""


def cited(evidence: Iterable[Evidence], today: date) -> list[Cited]:
    """Return the sources of evidence, without what is assumed or measured here."""
    found: dict[str, Cited] = {}
    for one in evidence:
        for source in sources({"": [one]}):
            found.setdefault(
                source.words,
                Cited(
                    source.words, address(source.words), one.confidence, age(source.words, today)
                ),
            )
    return list(found.values())


def newest(text: str) -> date | None:
    """Return the newest date that a source's text has, to the month; of a year, its January."""
    found = []
    for match in _DATED.finditer(text):
        if match["iso_year"]:
            found.append(date(int(match["iso_year"]), int(match["iso_month"]), 1))
        elif match["month"]:
            found.append(date(int(match["year"]), _MONTHS.index(match["month"]) + 1, 1))
        else:
            found.append(date(int(match["only_year"]), 1, 1))
    return max(found, default=None)


def age(text: str, today: date) -> str:
    """Return how old the newest date in a source's text is, in words."""
    when = newest(text)
    if when is None:
        return "undated"
    months = (today.year - when.year) * 12 + today.month - when.month
    return "this month" if months <= 0 else f"{months} month{'s' * (months > 1)} old"
