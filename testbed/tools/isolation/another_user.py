"""Runs the attacks once more as an ordinary user, for whoever is root."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import TypeAdapter

from testbed.guest.kernel.builder import Kernel
from testbed.guest.kernel.confinement import spare_user
from testbed.guest.machine import machine_with
from testbed.guest.user_cache import user_cache
from testbed.tools.isolation.attack_suite import Outcome

_OUTCOMES = TypeAdapter(list[Outcome])


class Unfit(Exception):  # noqa: N818 - a reason, not an error
    """It is not possible to run the attacks as an ordinary user; the message says why."""


def named_user() -> str:
    """Return who runs this process, for people."""
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        name = f"user {os.geteuid()}"
    return name if name == "root" else "an ordinary user"


def as_another_user(kernel: Kernel, names: Sequence[str]) -> list[Outcome]:
    """Return the outcomes of attacks on guests of an ordinary user; `kernel` is public.

    Raises:
        Unfit: There is no spare user, or it cannot run this program.
    """
    user = spare_user()
    if user is None:
        raise Unfit("this machine has no spare user id")
    with TemporaryDirectory(prefix="isolation-user-") as home:
        _own_tree(Path(home), kernel, user)
        command = [sys.executable, "-m", "testbed", "check", "isolation", "--json"]
        command += ["--kernel-folder", str(kernel.path.parent)]
        command += [word for name in names for word in ("--name", name)]
        done = subprocess.run(
            command,
            user=user,
            group=user,
            extra_groups=[],
            cwd="/",
            env={
                "HOME": home,
                "PATH": os.environ.get("PATH", os.defpath),
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        said = done.stderr.strip() or f"status {done.returncode}"
        raise Unfit(f"it could not run {sys.executable} with this checkout: {said[-500:]}")
    return _OUTCOMES.validate_json(done.stdout)


def _own_tree(home: Path, kernel: Kernel, user: int) -> None:
    """Copy the tree that is a guest's root into another user's cache, so that it is not fetched."""
    root = machine_with(kernel).root
    entry = home / ".cache" / "call-testbed" / root.relative_to(user_cache())
    shutil.copytree(root, entry, symlinks=True)
    for path in (home, *home.rglob("*")):
        os.chown(path, user, user, follow_symlinks=False)
