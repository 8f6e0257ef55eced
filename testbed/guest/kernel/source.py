"""Finds and identifies the Linux source from which the guest kernel is built."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from testbed.errors import KnownError
from testbed.guest.image.lock import KERNEL, read_lock, short_hash

TESTED = "Debian's linux-source-6.12 (6.12.117)"
"""The release for which the patches are made."""
LOCKED_SOURCE = Path("usr/src/linux-source-6.12.tar.xz")
"""Where the lab image has the source, below its tree of the group `KERNEL`."""

_TAR_OPTIONS = {".xz": "-J", ".bz2": "-j", ".gz": "-z", ".zst": "--zstd", ".tar": ""}


class KernelBuildError(KnownError):
    """The guest kernel could not be built; the message says why and what to do about it."""


@dataclass(frozen=True)
class KernelSource:
    """A kernel's source: the lab image's, or a compressed tar file or an unpacked tree.

    `identity` differs between sources, and between the compilers of lab images, and is cheap to
    compute: for a tar file it is made of its name, size and time stamp; for a tree, of its path and
    the time stamp of its Makefile (touch that after a change to the tree).
    """

    path: Path | None
    """None: the lab image's."""
    identity: str

    @property
    def is_tree(self) -> bool:
        """Whether the source is an unpacked tree."""
        return self.path is not None and self.path.is_dir()

    @property
    def tar_option(self) -> str:
        """The option that makes tar read this file, or the empty string."""
        return _TAR_OPTIONS[(self.path or LOCKED_SOURCE).suffix]


def find_source(given: Path | None = None) -> KernelSource:
    """Return the given source, or the lab image's.

    Raises:
        KernelBuildError: The given source cannot be used.
    """
    files = read_lock().files_of([KERNEL])
    tools = short_hash(*(file.sha256 for file in files))
    if given is None:
        return KernelSource(None, f"locked {tools}")
    path = given.absolute()
    try:
        if path.is_dir():
            stat = (path / "Makefile").stat()
            return KernelSource(path, f"tree {path} {stat.st_mtime_ns} {tools}")
        stat = path.stat()
    except OSError as error:
        raise KernelBuildError(f"cannot use {path} as kernel source: {error}") from error
    if path.suffix not in _TAR_OPTIONS:
        raise KernelBuildError(
            f"cannot use {path} as kernel source: it is neither a folder nor a tar file "
            f"({', '.join(sorted(_TAR_OPTIONS))})"
        )
    return KernelSource(path, f"tar {path.name} {stat.st_size} {stat.st_mtime_ns} {tools}")
