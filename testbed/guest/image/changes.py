"""Compares two locks of the lab image."""

from __future__ import annotations

from dataclasses import dataclass

from testbed.guest.image.lock import Lock, LockedFile


@dataclass(frozen=True)
class Change:
    """A package or wheel that is not the same in two locks."""

    name: str
    before: str
    after: str
    """Its versions; `none` where a lock does not have it."""


def changes(old: Lock, new: Lock) -> list[Change]:
    """Return what differs between two locks, by name."""
    found = []
    for name in sorted({*old.files, *new.files}):
        before, after = old.files.get(name), new.files.get(name)
        if before is None or after is None or before.sha256 != after.sha256:
            found.append(Change(name, _version(before), _version(after)))
    return found


def _version(file: LockedFile | None) -> str:
    return "none" if file is None else f"{file.version} ({file.sha256[:8]})"
