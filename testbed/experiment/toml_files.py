"""Read the files that people write, and refuse wrong ones in one sentence.

A file passes three checks. `read_input` wants a regular file of text, not a folder or an endless
device. `testbed.experiment.ranges` checks each value without knowing its key's type. `validated`
checks keys and types strictly, so that `true` is no number and `"1"` is none either.
"""

from __future__ import annotations

import stat
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from testbed.experiment.explanations import ScenarioError, TomlTable, describe, there_are
from testbed.experiment.ranges import wrong_values

T = TypeVar("T")
_ADAPTERS: dict[type, TypeAdapter[Any]] = {}
"""By class; one takes longer to make than a file to validate."""
_MOST_ERRORS = 3
"""How many wrong values of a file one message names."""
LARGEST_BYTES = 1_000_000
"""The largest file of text; the largest that is shipped has 20 kB."""


def path_of(name_or_path: str, folder: Path) -> Path:
    """Return the path of a file, given as such or by its name in a folder."""
    path = Path(name_or_path)
    return path if path.suffix == ".toml" else folder / f"{name_or_path}.toml"


def name_of(name_or_path: str) -> str:
    """Return the name of what is given by its name or by its file's path."""
    return path_of(name_or_path, Path()).stem


def read_input(path: Path, most_bytes: int = LARGEST_BYTES) -> str:
    """Return a file's text.

    Raises:
        FileNotFoundError: There is no such file.
        ScenarioError: It is a folder or a device, too large, unreadable, or not UTF-8.
    """
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise ScenarioError(f"{path} is a folder, expected a file")
        if not stat.S_ISREG(found.st_mode):
            raise ScenarioError(f"{path} is a device or a pipe, expected a regular file")
        if found.st_size > most_bytes:
            size_mb, most_mb = found.st_size / 1e6, most_bytes / 1e6
            raise ScenarioError(
                f"{path} has {size_mb:.1f} MB, expected at most {most_mb:g} MB of text"
            )
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise
    except UnicodeDecodeError as error:
        raise ScenarioError(f"{path}: byte {error.start + 1} is not UTF-8 text") from None
    except OSError as error:
        raise ScenarioError(f"{path}: {error.strerror}") from None


def read_toml(path: Path) -> TomlTable:
    """Return the content of a TOML file, each value of which is one that some key may have.

    Raises:
        FileNotFoundError: There is no such file.
        ScenarioError: It is no file of TOML, or it has values that no key may have.
    """
    try:
        content = tomllib.loads(read_input(path))
    except RecursionError:
        raise ScenarioError(f"{path}: tables and lists are nested too deeply") from None
    except ValueError as error:  # also of a number with thousands of digits
        raise ScenarioError(f"{path}: {error}") from None
    if wrong := wrong_values(content):
        raise ScenarioError(f"{path}: {'; '.join(wrong[:_MOST_ERRORS])}")
    return content


def read_known(path: Path, what: str, folder: Path, names: Sequence[str]) -> TomlTable:
    """Return the content of a TOML file, which may be one of those in a folder with these names.

    Raises:
        ScenarioError: There is no such file, or it cannot be read; `what` says what it is.
    """
    try:
        return read_toml(path)
    except FileNotFoundError:
        if path.parent != folder:  # somebody's own
            raise ScenarioError(f"no {what} {path}: there is no such file") from None
        known = there_are(path.stem, names)
        raise ScenarioError(f"no {what} {path.stem!r}: {path} is missing; {known}") from None


def stems(folder: Path) -> list[str]:
    """Return the names of the files in a folder that have a name to be used by."""
    return sorted(p.stem for p in folder.glob("*.toml") if p.name[0] not in "._")


def validated(path: Path, content: TomlTable, kind: type[T]) -> T:
    """Return the object that a file's content describes.

    Raises:
        ScenarioError: A key is missing or unknown, or has a wrong value.
    """
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    try:
        # By JSON's rules, because only they are strict and let lists become tuples.
        text = to_json({**content, "name": path.stem})
        found: T = _ADAPTERS[kind].validate_json(text, strict=True)
    except ValidationError as error:
        raise ScenarioError(f"{path}: {describe(error, content, kind)}") from None
    return found


def tables_of(path: Path, content: TomlTable, key: str) -> list[TomlTable]:
    """Return a list of tables in a file whose schema is not checked yet; empty without the key.

    Raises:
        ScenarioError: The key has something else.
    """
    found = content.get(key, [])
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise ScenarioError(f"{path}: {key}: expected tables, each as by [[{key}]]")
    return found


def table_of(path: Path, content: TomlTable, key: str) -> TomlTable:
    """Return a table in a file whose schema is not checked yet; empty without the key.

    Raises:
        ScenarioError: The key has something else.
    """
    found: TomlTable = content.get(key, {})
    if not isinstance(found, dict):
        raise ScenarioError(f"{path}: {key}: expected a table, as by [{key}]")
    return found


def check_all_different(key: str, values: Sequence[object]) -> None:
    """Check that a key's values are not repeated.

    Raises:
        ValueError: One is there twice.
    """
    for place, value in enumerate(values):
        if value in values[:place]:
            name = value
            if not isinstance(value, str | int):
                name = getattr(value, "title", "") or getattr(value, "name", value)
            raise ValueError(f"{key}: {name!r} is there twice; leave one out")
