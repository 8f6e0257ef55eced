"""Parse the local time of day inside the country, on which a middlebox's rules may depend."""

from __future__ import annotations

import re

_PATTERN = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
DEFAULT = "20:00"
"""The evening, when most calls are made and networks are busiest (assumed)."""


def hours(text: str) -> float:
    """Return a local time such as `20:30` in hours (0 to below 24).

    Raises:
        ValueError: The text is not a time of day.
    """
    if not _PATTERN.fullmatch(text):
        raise ValueError(f"local_time: {text!r} is no time of day such as 20:00")
    return int(text[:2]) + int(text[3:]) / 60
