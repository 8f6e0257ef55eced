"""Check the paths that options name for output, before any work is done for them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from testbed.experiment.explanations import ScenarioError


def check_folder(option: str, path: Path) -> None:
    """Check that a folder is there, or can be made.

    Raises:
        ScenarioError: It is something else, or cannot be written.
    """
    try:
        nearest = next(each for each in (path, *path.absolute().parents) if each.exists())
    except OSError as error:
        raise ScenarioError(f"{option} {path}: {error.strerror}; expected a folder") from None
    if not nearest.is_dir():
        raise ScenarioError(f"{option} {path}: {nearest} is not a folder; expected one")
    if not os.access(nearest, os.W_OK):
        raise ScenarioError(f"{option} {path}: {nearest} cannot be written; expected one that can")


def check_file(option: str, path: Path, example: str) -> None:
    """Check that a file can be written; `example` is a name that it may have.

    Raises:
        ScenarioError: It is a folder, or cannot be written.
    """
    expected = f"expected a file such as {example}"
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        is_folder = False
    except OSError as error:
        raise ScenarioError(f"{option} {path}: {error.strerror}; {expected}") from None
    if is_folder:
        raise ScenarioError(f"{option} {path} is a folder, {expected}")
    check_folder(option, path.absolute().parent)
