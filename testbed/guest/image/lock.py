"""The lock file of the lab image: which files of which suite a guest's root is made from.

Each file of the lock is a Debian package or a wheel from PyPI, with its SHA-256. A group names the
files that something needs: `base` is what every cell needs, `kernel` is what builds the guest
kernel, `host` is what the host's part needs, and each other group is named by the package or wheel
for which it was resolved. A group other than `base` does not repeat what `base` has. Dependencies
are resolved when the lock is written (`update`), never when it is used.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from testbed.errors import KnownError

LOCK_FILE = Path(__file__).with_name("lock.toml")
BASE = "base"
"""The group that every guest has."""
KERNEL = "kernel"
"""The group of what builds the guest kernel: its source, a compiler, and their tools."""
HOST = "host"
"""The group with what the host's part needs, for hosts that cannot install it."""
PYPI = "pypi/"
"""The prefix of a wheel's name in the lock."""


class ImageError(KnownError):
    """The lab image cannot be made; the message says why, and what to do."""


@dataclass(frozen=True)
class LockedFile:
    """A package or a wheel."""

    name: str
    """The package's name; a wheel's has the prefix `PYPI`."""
    version: str
    path: str
    """Where a mirror of Debian has the package; for a wheel, its file name."""
    size_bytes: int
    sha256: str

    @property
    def is_wheel(self) -> bool:
        """Whether it is a wheel."""
        return self.name.startswith(PYPI)


@dataclass(frozen=True)
class Lock:
    """The content of a lock file."""

    suite: str
    date: str
    """When it was written, such as `2026-11-30`."""
    groups: Mapping[str, tuple[str, ...]]
    """The names of each group's files."""
    programs: Mapping[str, str]
    """The group of each command that the packages for which groups were resolved bring."""
    files: Mapping[str, LockedFile]

    def files_of(self, groups: Iterable[str]) -> list[LockedFile]:
        """Return the files of some groups, each once, in the order of their names.

        Raises:
            ImageError: There is no such group.
        """
        groups = set(groups)
        if unknown := sorted(groups - set(self.groups)):
            raise ImageError(
                f"the lab image has no {', '.join(unknown)}: add it with "
                f"`testbed image update --package {unknown[0]}`"
            )
        names = {name for group in groups for name in self.groups[group]}
        return [self.files[name] for name in sorted(names)]

    def version_of(self, name: str) -> str:
        """Return a package's or a wheel's version; `missing` if the lock does not have it."""
        found = self.files.get(name)
        return "missing" if found is None else found.version

    def to_toml(self) -> str:
        """Return the text of the lock file."""
        lines = [
            "# Written by `testbed image update`: see testbed/guest/image/lock.py.",
            f"suite = {json.dumps(self.suite)}",
            f"date = {json.dumps(self.date)}",
            "",
            "[groups]",
            *(f"{json.dumps(k)} = {json.dumps(v)}" for k, v in sorted(self.groups.items())),
            "",
            "[programs]",
            *(f"{json.dumps(k)} = {json.dumps(v)}" for k, v in sorted(self.programs.items())),
        ]
        for name in sorted(self.files):
            file = self.files[name]
            lines += [
                "",
                f"[files.{json.dumps(name)}]",
                f"version = {json.dumps(file.version)}",
                f"path = {json.dumps(file.path)}",
                f"size_bytes = {file.size_bytes}",
                f"sha256 = {json.dumps(file.sha256)}",
            ]
        return "\n".join(lines) + "\n"

    @classmethod
    def from_toml(cls, text: str) -> Lock:
        """Parse the text of a lock file.

        Raises:
            ImageError: It is not a lock file.
        """
        try:
            content = tomllib.loads(text)
            lock = cls(
                content["suite"],
                content["date"],
                {name: tuple(files) for name, files in content["groups"].items()},
                content["programs"],
                {
                    name: LockedFile(name, **entry)
                    for name, entry in content.get("files", {}).items()
                },
            )
        except (tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError) as error:
            raise ImageError(f"this is not a lock file of a lab image: {error!r}") from None
        named = {name for files in lock.groups.values() for name in files}
        if absent := sorted(named - set(lock.files)):
            raise ImageError(f"the lock file of the lab image does not describe {absent[0]}")
        return lock


@cache
def read_lock(path: Path = LOCK_FILE) -> Lock:
    """Return the lock of a file.

    Raises:
        ImageError: It is not a lock file.
    """
    return Lock.from_toml(path.read_text("utf-8"))


def short_hash(*parts: str) -> str:
    """Return a short hash (hexadecimal) of some texts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]
