"""Where a number comes from and how sure it is; every profile and model cites through this."""

from dataclasses import dataclass
from datetime import date
from typing import Literal

Confidence = Literal["primary", "secondary", "community", "measured", "assumed"]
"""How sure a fact is.

primary: the authors' own text or artefact was read; secondary: quoted by a third party; community:
many users report it, nobody proved it; measured: by this project; assumed: no source gives it.
"""


@dataclass(frozen=True)
class Evidence:
    """The source of one parameter."""

    source: str
    """Title, issue or DOI; for `assumed`, why this value was chosen."""
    confidence: Confidence


def check_reviewed(reviewed: str) -> None:
    """Check the date on which a file was last held against its sources; empty: it has none.

    Raises:
        ValueError: It is no date as ISO 8601 has it.
    """
    try:
        date.fromisoformat(reviewed or "2026-11-30")
    except ValueError:
        raise ValueError(f"reviewed: {reviewed!r} is no date such as 2026-11-30") from None
