"""What a worker of a cluster sends back for one cell: a single `bytes` value.

The first line is JSON in UTF-8, and the contents of the files follow one after another:

    {"format": 1, "wall": null or {…}, "failure": "…", "unfit": "…", "files": [["a.csv", 81], …]}

`wall` is what the cell cost (`testbed.record.results.Wall`), or null if it could not be conducted;
`failure` says why. `unfit` says why this worker should get no more cells. The client takes nothing
of this on trust: types, numbers, names and sizes are checked, and nothing is unpickled.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from pydantic import TypeAdapter

from testbed.record.cell_record import parsed
from testbed.record.left_files import MOST_BYTES
from testbed.record.results import Wall

MOST_FILES = 10_000
_MOST_HEADER_BYTES = 4 << 20
_DEPTH = 6
_NAME = re.compile(r"[A-Za-z0-9_+=@-][A-Za-z0-9._+=@-]{0,199}")

Files = Mapping[str, bytes]
"""The contents of files, by their path within a folder."""


@dataclass(frozen=True)
class CellResult:
    """How a cell ended on a worker."""

    wall: Wall | None
    failure: str
    unfit: str
    files: Files


@dataclass(frozen=True)
class _Header:
    format: Literal[1]
    wall: Wall | None
    failure: str
    unfit: str
    files: tuple[tuple[str, int], ...]


_HEADERS = TypeAdapter(_Header)


def is_sendable(name: str) -> bool:
    """Return whether a file's path is one that a client accepts."""
    parts = PurePosixPath(name).parts
    is_plain = str(PurePosixPath(*parts)) == name and 0 < len(parts) <= _DEPTH
    return is_plain and all(_NAME.fullmatch(part) for part in parts)


def packed(result: CellResult) -> bytes:
    """Return a result as bytes. Files with a name that no client accepts are left out."""
    files = {name: content for name, content in result.files.items() if is_sendable(name)}
    sizes = tuple((name, len(content)) for name, content in files.items())
    header = _HEADERS.dump_json(_Header(1, result.wall, result.failure, result.unfit, sizes))
    return b"".join((header, b"\n", *files.values()))


def unpacked(content: object) -> CellResult:
    """Return the result that a worker sent.

    Raises:
        ValueError: It is not a result, or has names or sizes that no client accepts.
    """
    if not isinstance(content, bytes):
        raise ValueError(f"it is a {type(content).__name__}, not bytes")  # noqa: TRY004 - damage
    header, line_feed, _ = content[:_MOST_HEADER_BYTES].partition(b"\n")
    if not line_feed:
        raise ValueError("its first line is too long, or missing")
    read = parsed(_HEADERS, header)
    _check_wall(read.wall)
    if len(read.files) > MOST_FILES or len(content) > MOST_BYTES:
        raise ValueError(
            f"it has {len(read.files)} files of {len(content)} bytes, which is too much"
        )
    files: dict[str, bytes] = {}
    at = len(header) + 1
    for name, size in read.files:
        if size < 0 or name in files or not is_sendable(name):
            raise ValueError(f"it has a file that cannot be: {name[:100]!r} of {size} bytes")
        files[name] = content[at : at + size]
        at += size
    if at != len(content):
        raise ValueError(f"it has {len(content)} bytes, its files say {at}")
    return CellResult(read.wall, read.failure, read.unfit, files)


def _check_wall(wall: Wall | None) -> None:
    if wall is not None and not (0 < wall.wall_s < 1e7 and 0 <= wall.virtual_s < 1e9):
        raise ValueError(f"its times cannot be: {wall.wall_s} s, {wall.virtual_s} virtual s")
