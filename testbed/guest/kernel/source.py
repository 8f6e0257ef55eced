"""Finds and identifies the Linux source from which the guest kernel is built."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from testbed.errors import KnownError

# The series for which the patches are made, and the releases on which they were tested.
WANTED_SERIES = "6.12"
TESTED = "Debian's linux-source-6.12 (6.12.117)"

_SYSTEM_SOURCES = Path("/usr/src")
_OS_RELEASE = Path("/etc/os-release")
_TAR_OPTIONS = {".xz": "-J", ".bz2": "-j", ".gz": "-z", ".zst": "--zstd", ".tar": ""}


class KernelBuildError(KnownError):
    """The guest kernel could not be built; the message says why and what to do about it."""


@dataclass(frozen=True)
class KernelSource:
    """A kernel's source: a compressed tar file or an unpacked tree.

    `identity` differs between sources and is cheap to compute: for a tar file it is made of its
    name, size and time stamp, which a distribution's package fixes; for a tree, of its path and the
    time stamp of its Makefile (touch that after a change to the tree).
    """

    path: Path
    identity: str

    @property
    def is_tree(self) -> bool:
        """Whether the source is an unpacked tree."""
        return self.path.is_dir()

    @property
    def tar_option(self) -> str:
        """The option that makes tar read this file, or the empty string."""
        return _TAR_OPTIONS[self.path.suffix]


def find_source(given: Path | None = None, *, system: Path = _SYSTEM_SOURCES) -> KernelSource:
    """Return the given source, or the best that the distribution's packages put into `system`.

    Raises:
        KernelBuildError: There is none; the message names the package to install.
    """
    if given is not None:
        return _source(given)
    packaged = [*system.glob("linux-source-*.tar.*"), *system.glob("linux-source-*/linux-*.tar.*")]
    usable = {path.resolve() for path in packaged if path.suffix in _TAR_OPTIONS}
    if not usable:
        raise KernelBuildError(
            f"there is no kernel source in {system}: {_install_hint(_os_names())}, "
            "or name a source tree or tar file yourself"
        )
    return _source(max(usable, key=_preference))


def _source(path: Path) -> KernelSource:
    path = path.absolute()
    try:
        if path.is_dir():
            stat = (path / "Makefile").stat()
            return KernelSource(path, f"tree {path} {stat.st_mtime_ns}")
        stat = path.stat()
    except OSError as error:
        raise KernelBuildError(f"cannot use {path} as kernel source: {error}") from error
    if path.suffix not in _TAR_OPTIONS:
        raise KernelBuildError(
            f"cannot use {path} as kernel source: it is neither a folder nor a tar file "
            f"({', '.join(sorted(_TAR_OPTIONS))})"
        )
    return KernelSource(path, f"tar {path.name} {stat.st_size} {stat.st_mtime_ns}")


def _preference(path: Path) -> tuple[bool, tuple[int, ...]]:
    numbers = re.search(r"\d+(?:\.\d+)*", path.name)
    version = tuple(int(part) for part in numbers.group().split(".")) if numbers else ()
    return (version[:2] == tuple(int(part) for part in WANTED_SERIES.split(".")), version)


def _os_names() -> Iterable[str]:
    """Return the names of this distribution and of those it derives from, the closest first."""
    try:
        text = _OS_RELEASE.read_text("utf-8")
    except OSError:
        return ()
    fields = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', text, re.MULTILINE))
    return (fields.get("ID", ""), *fields.get("ID_LIKE", "").split())


def _install_hint(names: Iterable[str]) -> str:
    for name in names:
        if name == "ubuntu":
            return f"apt install linux-source (the patches are made for {WANTED_SERIES})"
        if name == "debian":
            return (
                f"apt install linux-source-{WANTED_SERIES} "
                "(on Debian 12 from bookworm-security or bookworm-backports)"
            )
    return f"install your distribution's kernel source package, {WANTED_SERIES} if it has it"
