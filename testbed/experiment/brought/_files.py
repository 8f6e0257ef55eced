"""What the formats of files share."""

from __future__ import annotations

from pathlib import Path

from testbed.experiment.explanations import ScenarioError
from testbed.experiment.toml_files import read_input


def is_file(text: str, suffix: str) -> bool:
    """Return whether a text is the path of a file with this ending, perhaps with `#TAG` behind."""
    return text.partition("#")[0].lower().endswith(suffix) and "://" not in text


def read_text(path: str) -> str:
    """Return the text of a file that somebody brings.

    Raises:
        ScenarioError: There is no such file, or it is no text.
    """
    try:
        return read_input(Path(path))
    except FileNotFoundError:
        raise ScenarioError(f"no file {path}: there is none of this name") from None
