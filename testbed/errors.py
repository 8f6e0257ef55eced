"""The two kinds of errors that the command line prints as one sentence, without a traceback.

A module's own error derives from one of them, so that the command line needs no list of errors.
"""

from __future__ import annotations

from typing import ClassVar


class KnownError(Exception):
    """Something failed for a known reason; the message names the reason and what to do."""

    exit_status: ClassVar[int] = 1


class InputError(KnownError):
    """What a person wrote cannot be used: an option, a scenario, a file, a run's folder."""

    exit_status: ClassVar[int] = 2
