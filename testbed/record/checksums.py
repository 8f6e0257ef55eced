"""Checksums, by which a file can be told from one that a crash or a failing disk has damaged.

A folder that is complete is sealed: a file that `sha256sum --check` reads has the checksums of its
files. A file that differs between equal runs, or that is replaced, has its checksum in itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.record.left_files import open_left, read_left

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SUMS = "SHA256SUMS"
_SUM = "sha256"


def seal(folder: Path, *but: str) -> None:
    """Write the checksums of all files in a folder and its subfolders, but some.

    Raises:
        OSError: A file cannot be read, or the checksums cannot be written.
    """
    names = sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and path.name not in (SUMS, *but)
    )
    lines = [f"{_digest(folder, name)}  {name}\n" for name in names]
    (folder / SUMS).write_text("".join(lines), "utf-8")


def with_sum(content: Mapping[str, object]) -> str:
    """Return an object as JSON that has its own checksum."""
    return json.dumps({**content, _SUM: _sum(content)}, indent=1) + "\n"


def check_sum(text: str | bytes, kind: type[DataclassInstance]) -> None:
    """Check the checksum of a dataclass that `with_sum` wrote; one without is taken as it is.

    Raises:
        ValueError: It is not what it was when it was written.
    """
    content = json.loads(text)
    if unknown := set(content) - {_SUM, *(field.name for field in fields(kind))}:
        raise ValueError(f"{min(unknown)}: no such key")
    if content.pop(_SUM, None) not in (None, _sum(content)):
        raise ValueError("it is not what it was when it was written")


def _sum(content: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def is_sealed(folder: Path) -> bool:
    """Return whether a folder has checksums."""
    return (folder / SUMS).is_file()


def damage(folder: Path, *names: str) -> str:
    """Return what is wrong with a sealed folder, or with some of its files; empty if nothing is.

    A folder without checksums counts as damaged.
    """
    try:
        sealed = sums(folder)
        if not sealed:
            return f"{SUMS} is empty"
        for name in names or sealed:
            if name not in sealed:
                return f"{name} has no checksum"
            if _digest(folder, name) != sealed[name]:
                return f"{name} is not what it was when it was written"
    except (OSError, ValueError) as error:
        return str(error)
    return ""


def sums(folder: Path) -> dict[str, str]:
    """Return the checksums of a sealed folder, by the names of its files.

    Raises:
        OSError: It has none that can be read.
        ValueError: They are damaged.
    """
    found = {}
    for line in read_left(folder, SUMS).decode("utf-8").splitlines():
        digest, blanks, name = line.partition("  ")
        if not blanks or len(digest) != 64:
            raise ValueError(f"{SUMS} is damaged")
        found[name] = digest
    return found


def _digest(folder: Path, name: str) -> str:
    with open_left(folder, name) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
