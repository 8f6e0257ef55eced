"""Base classes of the errors that the command line prints as one sentence, without a traceback.

Every module derives its own errors from one of the two, so the command line needs no list of them.
"""

from __future__ import annotations

from typing import ClassVar


class KnownError(Exception):
    """Something failed for a known reason; the message states the reason and the remedy."""

    exit_status: ClassVar[int] = 1


class InputError(KnownError):
    """The user's input cannot be used: an option, a scenario, a file, or a run's folder."""

    exit_status: ClassVar[int] = 2
