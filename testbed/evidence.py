"""Record where a number comes from and how certain it is; all profiles and models cite this way."""

from dataclasses import dataclass
from datetime import date
from typing import Literal

Confidence = Literal["primary", "secondary", "community", "measured", "assumed"]
"""How certain a fact is.

primary: the authors' own text or artefact was read; secondary: quoted by a third party; community:
many users report it, but nobody has proved it; measured: by this project; assumed: there is no
source.
"""


@dataclass(frozen=True)
class Evidence:
    """The source of one parameter."""

    source: str
    """A title, issue or DOI; for `assumed`, the reason for this value."""
    confidence: Confidence


def check_reviewed(reviewed: str) -> None:
    """Check the date on which a file was last checked against its sources; it may be empty.

    Raises:
        ValueError: It is not a date in ISO 8601 format.
    """
    try:
        date.fromisoformat(reviewed or "2026-11-30")
    except ValueError:
        raise ValueError(f"reviewed: {reviewed!r} is no date such as 2026-11-30") from None
