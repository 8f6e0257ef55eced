"""Runs one attack, as a job in a guest or with the arguments of a guest kernel."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path

from testbed.tools.isolation.attacks import (
    ATTACKS,
    Target,
    checked,
    libc,
    processes,
    remains,
    resources,
    sockets,
    user_files,
)

MODULES = (user_files, sockets, processes, remains, resources)
"""The files with attacks."""


def main(argv: list[str]) -> None:
    """Run the attack that the job names, as a job or with the arguments of a guest kernel."""
    in_guest = len(argv) == 2
    job = Path(argv[1]) if in_guest else Path(argv[-1]) / "job"
    task = json.loads((job / "attack.json").read_text())
    name, host = task.pop("attack"), Path("/")
    if in_guest:
        host = Path("/run/host")
        host.mkdir()
        with suppress(OSError):
            checked(libc.mount(b"none", bytes(host), b"hostfs", 0, b"/"))
    (job / "attack.json").unlink()
    ATTACKS[name].run(Target(job=job, host=host, **task))


if __name__ == "__main__":
    main(sys.argv)
