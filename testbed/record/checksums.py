"""Checksums of the files in a folder, in a file that `sha256sum --check` reads.

A folder is sealed when it is complete. Whoever uses one of its files later can tell whether it is
still what it was, for instance after a crash or a failing disk.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from testbed.record.left_files import open_left, read_left

SUMS = "SHA256SUMS"


def seal(folder: Path) -> None:
    """Write the checksums of all files in a folder and its subfolders.

    Raises:
        OSError: A file cannot be read, or the checksums cannot be written.
    """
    names = sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and path.name != SUMS
    )
    lines = [f"{_digest(folder, name)}  {name}\n" for name in names]
    (folder / SUMS).write_text("".join(lines), "utf-8")


def is_sealed(folder: Path) -> bool:
    """Return whether a folder has checksums."""
    return (folder / SUMS).is_file()


def damage(folder: Path, *names: str) -> str:
    """Return what is wrong with a sealed folder, or with some of its files; empty if nothing is.

    A folder without checksums counts as damaged.
    """
    try:
        sums = _sums(folder)
        if not sums:
            return f"{SUMS} is empty"
        for name in names or sums:
            if name not in sums:
                return f"{name} has no checksum"
            if _digest(folder, name) != sums[name]:
                return f"{name} is not what it was when it was written"
    except (OSError, ValueError) as error:
        return str(error)
    return ""


def _sums(folder: Path) -> dict[str, str]:
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
