"""Unpacks Debian packages and wheels into folders, without dpkg and without their scripts.

A package is an ar archive (deb(5)) whose member `data.tar.*` has the files. What no guest reads is
left out. Folders that Debian merged into /usr (`/bin`, `/lib`, …) are unpacked there. Modes are 755
or 644, and times are the same for all files, so that equal archives give equal folders whatever the
host's user, umask and clock.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from testbed.guest.image.lock import ImageError

TIME_S = 1_755_043_200
"""The time of all files of an image: 2025-08-13 00:00:00 UTC, when a guest's clock starts."""
MERGED = ("bin", "sbin", "lib", "lib64")
"""The folders that are links to those of the same name in /usr."""
SITE = PurePosixPath("usr/lib/python3/dist-packages")
"""Where wheels are unpacked."""
_AR_MAGIC, _AR_HEADER_BYTES = b"!<arch>\n", 60
_LEFT_OUT = re.compile(
    r"usr/share/(man|info|locale|lintian|bug|bash-completion|doc-base|doc/(?!.*/copyright$).*/.)"
)
"""What is left out of packages: no guest reads it. Licences stay."""


def unpack_package(package: Path, folder: Path) -> None:
    """Unpack a Debian package into a folder.

    Raises:
        ImageError: It is not a package, or it has a file of an unexpected kind.
    """
    try:
        with tarfile.open(fileobj=_data_of(package)) as archive:
            for member in archive:
                _unpack(archive, member, folder)
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise ImageError(f"{package} is not a Debian package: {error}") from None
    settle(folder)


def _data_of(package: Path) -> io.BytesIO:
    """Return the content of the archive with a package's files (ar: a header, then the content)."""
    content = package.read_bytes()
    if not content.startswith(_AR_MAGIC):
        raise ValueError("it is not an ar archive")
    at = len(_AR_MAGIC)
    while at < len(content):
        header = content[at : at + _AR_HEADER_BYTES]
        size = int(header[48:58])
        at += _AR_HEADER_BYTES
        if header.startswith(b"data.tar"):
            return io.BytesIO(memoryview(content)[at : at + size])
        at += size + size % 2
    raise ValueError("it has no data.tar")


def _unpack(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    name = _place(member.name)
    if name is None or _LEFT_OUT.match(name) or _is_merged(member):
        return
    path = folder / name
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if member.issym():
        path.symlink_to(member.linkname)
    elif member.islnk():
        target = _place(member.linkname)
        assert target is not None
        path.hardlink_to(folder / target)
    elif member.isfile():
        source = archive.extractfile(member)
        assert source is not None
        with source, path.open("wb") as file:
            shutil.copyfileobj(source, file)
        path.chmod(0o700 if member.mode & 0o111 else 0o600)  # see `settle`
    else:
        raise ValueError(f"it has {member.name}, which is neither a file, a folder nor a link")


def _is_merged(member: tarfile.TarInfo) -> bool:
    """Return whether a member is a link that trees have anyway, as the package base-files does."""
    return member.issym() and PurePosixPath(member.name).as_posix() in MERGED


def _place(name: str) -> str | None:
    """Return where a member of an archive belongs; None: the root itself.

    Raises:
        ValueError: It lies outside the folder.
    """
    parts = PurePosixPath(name).parts
    if ".." in parts or name.startswith("/"):
        raise ValueError(f"it has a file outside of it: {name}")
    if parts and parts[0] in MERGED:
        parts = ("usr", *parts)
    return "/".join(parts) or None


def unpack_wheel(wheel: Path, folder: Path) -> None:
    """Unpack a wheel into a folder, below `SITE`.

    Raises:
        ImageError: It is not a wheel.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.infolist():
                name = _place(member.filename)
                if name is None or member.is_dir():
                    continue
                path = folder / SITE / PurePosixPath(member.filename)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(archive.read(member))
                path.chmod(0o700 if member.external_attr >> 16 & 0o111 else 0o600)
    except (zipfile.BadZipFile, ValueError) as error:
        raise ImageError(f"{wheel} is not a wheel: {error}") from None
    settle(folder)


def settle(folder: Path) -> None:
    """Set the fixed times and modes of a folder and of all that is in it."""
    for path in (*_below(folder), folder):
        if not path.is_symlink():
            is_executable = path.is_dir() or path.stat().st_mode & 0o111
            path.chmod(0o755 if is_executable else 0o644)
        os.utime(path, (TIME_S, TIME_S), follow_symlinks=False)


def _below(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            yield Path(place) / name
