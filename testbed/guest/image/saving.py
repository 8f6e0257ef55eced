"""Saves a laboratory in one archive, and takes it into another machine's cache.

The archive has what the user's cache has for one lock: unpacked packages, the tree of the host's
part, the guest kernel and the Go programs. With it, `./lab` needs neither apt, a compiler, a
network, root nor a Python of its own (see `lab`). Trees of cells are not in it: they are links to
the packages, and are made again.
"""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from testbed.guest.image.lock import HOST, ImageError
from testbed.guest.image.seals import seal_of
from testbed.guest.image.tree import Image

HOSTS_GROUPS = (HOST, "ntgcalls")
"""numpy and pandas need C++'s library, which is in the group of the wheel ntgcalls."""
_ENTRIES = ("image/store/*", "image/trees/*", "image/host-*", "kernel/*", "go/*")
"""The cache's entries that an archive may have."""


def save(image: Image, others: Sequence[Path], archive: Path) -> None:
    """Write an archive with all that the cache has for an image, and other entries of the cache.

    Raises:
        ImageError: The tree of the host's part cannot be made.
        OSError: The archive cannot be written.
    """
    link = image.host_link(image.tree(HOSTS_GROUPS))
    cache = image.folder.parent
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        folders = [*image.kept(), link.resolve()]
        seals = [seal for folder in folders if (seal := seal_of(folder)).is_file()]
        for entry in (*folders, *seals, link, *others):
            tar.add(entry, str(entry.relative_to(cache)), filter=_owned_by_nobody)


def _owned_by_nobody(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def load(archive: Path, cache: Path) -> list[str]:
    """Take an archive into a cache; return the names of what was not there before.

    Raises:
        ImageError: It is not an archive that `save` wrote.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="new-", dir=cache) as scratch:
        fresh = Path(scratch)
        try:
            with tarfile.open(archive) as tar:
                # Not the filter for data, which refuses links to places in a guest.
                tar.extraction_filter = getattr(tarfile, "tar_filter", None)
                for member in _checked(tar):
                    tar.extract(member, fresh)
        except (tarfile.TarError, EOFError) as error:
            raise ImageError(
                f"{archive} is not an archive of `testbed image save`: {error}"
            ) from None
        return [name for name in _entries(fresh) if _moved(fresh / name, cache / name)]


def _checked(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for member in tar:
        parts = PurePosixPath(member.name).parts
        entries = (PurePosixPath(entry) for entry in _ENTRIES)
        places = [PurePosixPath(*parts[: len(e.parts)]).match(str(e)) for e in entries]
        if ".." in parts or not any(places):
            raise tarfile.TarError(f"it has a file that belongs elsewhere: {member.name}")
        yield member


def _entries(folder: Path) -> list[str]:
    """Return the paths of the cache's entries below a folder: each is there whole or not at all."""
    found = (path for entry in _ENTRIES for path in folder.glob(entry))
    return sorted(str(path.relative_to(folder)) for path in found)


def _moved(fresh: Path, place: Path) -> bool:
    if place.exists():
        return False
    place.parent.mkdir(parents=True, exist_ok=True)
    fresh.rename(place)
    return True
