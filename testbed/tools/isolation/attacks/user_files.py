"""Attacks on files of the user, and of another guest."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from testbed.tools.isolation.attacks import Target, attack, checked, libc

_REMOUNT, _DETACH = 32, 2


@attack("changed")
def overwrite(at: Target) -> None:
    """Write over a file of the user."""
    at.file.write_text(at.token)


@attack("changed")
def append(at: Target) -> None:
    """Add to a file of the user."""
    with at.file.open("a") as file:
        file.write(at.token)


@attack("changed")
def truncate(at: Target) -> None:
    """Cut a file of the user off."""
    os.truncate(at.file, 0)


@attack("changed")
def create(at: Target) -> None:
    """Make a file outside."""
    (at.folder / "new").write_text(at.token)


@attack("changed")
def delete(at: Target) -> None:
    """Remove a file of the user."""
    at.file.unlink()


@attack("changed")
def rename(at: Target) -> None:
    """Rename a file of the user."""
    at.file.rename(at.file.with_name("renamed"))


@attack("changed")
def steal(at: Target) -> None:
    """Move a file of the user into its job."""
    at.file.rename(at.job_on_host / "stolen")


@attack("changed")
def make_folder(at: Target) -> None:
    """Make a folder outside."""
    (at.folder / "new").mkdir()


@attack("changed")
def remove_folder(at: Target) -> None:
    """Remove a folder of the user."""
    at.folder.rmdir()


@attack("changed")
def change_mode(at: Target) -> None:
    """Change the mode of a file of the user."""
    at.file.chmod(0o777)


@attack("changed")
def change_times(at: Target) -> None:
    """Change the times of a file of the user."""
    os.utime(at.file, (1, 1))


@attack("changed")
def change_owner(at: Target) -> None:
    """Hand a file of the user to another."""
    os.chown(at.file, 12345, 12345)


@attack("changed")
def link_outside(at: Target) -> None:
    """Leave a symbolic link outside."""
    (at.folder / "link").symlink_to("/etc/passwd")


@attack("changed")
def fifo_outside(at: Target) -> None:
    """Leave a FIFO outside."""
    os.mkfifo(at.folder / "fifo")


@attack("changed")
def write_through_hard_link(at: Target) -> None:
    """Write through a hard link that it makes in its job."""
    os.link(at.file, at.job_on_host / "linked")
    (at.job_on_host / "linked").write_text(at.token)


@attack("changed", "guest")
def remount(at: Target) -> None:
    """Make its root writable and write over a file of the user."""
    checked(libc.mount(b"none", b"/", b"hostfs", _REMOUNT, None))
    checked(libc.umount2(b"/tmp", _DETACH))  # the guest's own, which hides the user's
    Path(at.private, "file").write_text(at.token)


@attack("changed", "guest")
def mount_folder(at: Target) -> None:
    """Mount the user's folder itself and write."""
    Path("/run/own").mkdir()
    checked(libc.mount(b"none", b"/run/own", b"hostfs", 0, at.private.encode()))
    Path("/run/own/file").write_text(at.token)


@attack("learnt")
def read_secret(at: Target) -> None:
    """Read a file that only the user may read."""
    at.learnt(at.secret.read_bytes())


@attack("learnt")
def read_names(at: Target) -> None:
    """Read the names in a folder of the user."""
    at.learnt("\n".join(os.listdir(at.on_host(at.private))))  # noqa: PTH208 - names only


@attack("learnt")
def read_shared_memory(at: Target) -> None:
    """Read a file in /dev/shm."""
    at.learnt(at.on_host(at.shared_memory).read_bytes())


@attack("learnt")
def read_other_job(at: Target) -> None:
    """Read the folder of another guest's job."""
    at.learnt(at.on_host(f"{at.private}/other-job/record").read_bytes())


@attack("changed")
def write_other_job(at: Target) -> None:
    """Write into the folder of another guest's job."""
    at.on_host(f"{at.private}/other-job/record").write_text(at.token)


@attack("learnt")
def make_device(at: Target) -> None:
    """Make a device in its job and read from it."""
    os.mknod(at.job_on_host / "device", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    if at.host == Path("/"):  # in a guest, the number would be a device of the guest's own
        with (at.job_on_host / "device").open("rb") as device:
            assert device.read(1) == b"\0"
    at.learnt(at.token)


@attack("left")
def leave_setuid(at: Target) -> None:
    """Leave a program that is root for whoever starts it."""
    (at.job / "program").write_bytes(b"#!/bin/sh\n")
    (at.job / "program").chmod(0o4755)


@attack("changed", "process")
def mount_over(at: Target) -> None:
    """Mount a file system over a folder of the user."""
    checked(libc.mount(b"tmpfs", at.private.encode(), b"tmpfs", 0, None))
