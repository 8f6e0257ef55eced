"""Base classes of the errors that the command line prints as one sentence, without a traceback.

Every module derives its own errors from one of the two, so the command line needs no list of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

_LONGEST_NAME = 200
"""In characters; comparing longer ones takes seconds."""


class KnownError(Exception):
    """Something failed for a known reason; the message states the reason and the remedy."""

    exit_status: ClassVar[int] = 1


class InputError(KnownError):
    """The user's input cannot be used: an option, a scenario, a file, or a run's folder."""

    exit_status: ClassVar[int] = 2


class Interrupted(Exception):  # noqa: N818 - requested, not an error
    """The user interrupted a run; the cells that had finished are kept."""


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return a question that names the known name which is most like another; or nothing."""
    from difflib import get_close_matches  # noqa: PLC0415 - only who makes an error pays for it

    names = {each.lower(): each for each in known}
    close = get_close_matches(str(name)[:_LONGEST_NAME].lower(), names, n=1)
    return f". Did you mean {names[close[0]]!r}?" if close else ""
