"""Runs programs of a tree on the host's kernel, with the tree as their root.

A mount namespace shows the tree, read-only, with fresh `/tmp` and `/run`, the host's devices, and
the folders that the program is to see. A user who is not root gets it from a user namespace. What
runs there belongs to the tree: no program, library or file of the host is involved, but the kernel.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from testbed.guest.image.lock import ImageError

_SCRIPT = """
set -eu
tree=$1
shift
mount --bind "$tree" "$tree"
mount -o remount,bind,ro "$tree" 2>/dev/null || :  # a user namespace may not be allowed to
mount -t proc proc "$tree/proc" 2>/dev/null || mount --rbind /proc "$tree/proc"
mount --rbind /dev "$tree/dev"
mount -t sysfs sysfs "$tree/sys" 2>/dev/null || :  # it shows a network namespace's devices
for scratch in run tmp var/tmp; do mount -t tmpfs -o mode=1777 tmpfs "$tree/$scratch"; done
while [ "$1" != -- ]; do
    mkdir -p "$tree$1"
    mount --bind "$2" "$tree$1"
    shift 2
done
shift
exec chroot "$tree" "$@"
"""
"""Arguments: the tree, pairs of a place in it and a host folder to show there, `--`, the command.
"""
_NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
ENVIRONMENT = {
    "HOME": "/tmp",
    "LC_ALL": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}
"""The environment of what is run, whatever the user's is."""


def entered(
    tree: Path, command: Sequence[str], shown: Mapping[Path, Path], *more_namespaces: str
) -> list[str]:
    """Return a command that runs a tree's program with the tree as its root.

    `shown` has the host folders that the program sees, by their place below the tree's /run;
    `more_namespaces` are further options of unshare(1).

    Raises:
        ImageError: This system does not allow it.
    """
    if refusal := _refusal():
        raise ImageError(
            f"programs of the lab image cannot be run on this system ({refusal}): run this as root "
            "or where user namespaces are allowed, or use `testbed image load` with an image that "
            "was saved elsewhere"
        )
    pairs = [str(path) for place_and_folder in shown.items() for path in place_and_folder]
    script = ["sh", "-c", _SCRIPT, "sh", str(tree), *pairs, "--"]
    return [*_namespaces(), *more_namespaces, *script, *command]


def _namespaces() -> tuple[str, ...]:
    return _NAMESPACES if os.geteuid() == 0 else (*_NAMESPACES, "--map-root-user")


@cache
def _refusal() -> str:
    """Return why there can be no namespaces here; empty if there can."""
    try:
        tried = subprocess.run(
            [*_namespaces(), "mount", "-t", "tmpfs", "tmpfs", "/tmp"],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        return str(error)
    return tried.stderr.strip() or "no reason given" if tried.returncode else ""
