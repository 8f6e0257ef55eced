"""Attacks by what is left in the job's folder, on whoever reads, writes or removes it."""

from __future__ import annotations

import os

from testbed.tools.isolation.attacks import Target, attack

_NESTED = 3_000


@attack("left")
def link_to_write(at: Target) -> None:
    """Leave a link in the place of a file that the runner writes."""
    (at.job / "heard-up.wav").symlink_to(f"{at.private}/file")


@attack("left")
def link_to_read(at: Target) -> None:
    """Leave a link in the place of a file that the runner reads."""
    (at.job / "record.json").symlink_to(f"{at.private}/secret")


@attack("left")
def fifo_to_read(at: Target) -> None:
    """Leave a FIFO in the place of a file that the runner reads."""
    os.mkfifo(at.job / "record.json")


@attack("left")
def endless_to_read(at: Target) -> None:
    """Leave a link to a device that never ends."""
    (at.job / "record.json").symlink_to("/dev/zero")


@attack("left")
def folder_to_write(at: Target) -> None:
    """Leave a folder in the place of a file that the runner writes."""
    (at.job / "heard-up.wav" / "full").mkdir(parents=True)


@attack("left")
def name_to_read(at: Target) -> None:
    """Leave a second name of a file of the user."""
    os.link(at.secret, at.job_on_host / "record.json")


@attack("left", "process")
def deep_folders(at: Target) -> None:
    """Leave folders within folders without end."""
    inner = os.open(at.job, os.O_RDONLY)
    for _ in range(_NESTED):
        os.mkdir("d", dir_fd=inner)
        below = os.open("d", os.O_RDONLY, dir_fd=inner)
        os.close(inner)
        inner = below


@attack("left")
def escape_codes(at: Target) -> None:
    """Write commands for the user's terminal into a log."""
    (at.job / "record.json").write_text(f"\x1b]0;{at.token}\x07\x1b[2J\x9b31m")
