"""Looks after the folder of the user's cache that has unpacked packages (`store`) and trees.

Trees are links to files of packages, so that disk space is free again only when both are gone. A
tree that a process uses (`seals.hold`) stays, and so does the one to which a link `host-…` leads:
it has the interpreter of a loaded laboratory (see `lab`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from pathlib import Path

from testbed.guest.image import seals


def damages(folder: Path) -> dict[Path, str]:
    """Return what is wrong with each damaged folder of the cache; all files are read for that."""
    digests: seals.Digests = {}
    sealed = [place for place in _places(folder) if seals.seal_of(place).exists()]
    return {place: why for place in sealed if (why := seals.damage(place, digests))}


def repair(folder: Path) -> list[str]:
    """Restore what has only other modes, remove what is damaged, and say what was wrong.

    What was removed is made again when it is needed. The caller must hold the lock of the cache, so
    that nothing is made meanwhile.
    """
    return [
        f"{place.relative_to(folder)}: {why} ({_repaired(place)})"
        for place, why in damages(folder).items()
    ]


def _repaired(place: Path) -> str:
    """Restore or remove a damaged folder; return in words what was done."""
    with seals.claimed(place) as is_free:
        if not is_free:
            return "in use: end the run that uses it, and try again"
        if seals.restore(place):
            return "restored"
        seals.remove(place)
        return "removed"


def sweep(folder: Path, kept: Collection[Path], *, unused_s: float) -> None:
    """Remove folders that have not been used for some time (s), except those to be kept.

    The caller must hold the lock of the cache, so that nothing is made meanwhile.
    """
    needed = {*kept, *(link.resolve() for link in folder.glob("host-*"))}
    for place in _places(folder):
        if place in needed or time.time() - seals.used_at(place) < unused_s:
            continue
        with seals.claimed(place) as is_free:
            if is_free:
                seals.remove(place)


def disk_bytes(folder: Path, *but: Path) -> int:
    """Return how much room a folder takes (bytes), without the files that some others have."""
    used = _inodes(folder)
    for other in but:
        for inode in _inodes(other):
            used.pop(inode, None)
    return sum(used.values())


def _inodes(folder: Path) -> dict[int, int]:
    """Return the room that each file takes (bytes), by its inode."""
    found = {}
    for place, _, files in os.walk(folder):
        for name in files:
            stat = os.lstat(os.path.join(place, name))  # noqa: PTH118 - it is called often
            found[stat.st_ino] = stat.st_blocks * 512
    return found


def _places(folder: Path) -> list[Path]:
    """Return the folders of the store and the trees."""
    found = (*folder.glob("store/*"), *folder.glob("trees/*"))
    return [place for place in sorted(found) if place.is_dir() and place.name[:4] != "new-"]
