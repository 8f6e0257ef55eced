"""Reads what a guest's kernel counted of each program (patch 0013); runs no guest, prints nothing.

Programs are known by the name of their threads: real engines name theirs, Go's and Python's have
their program's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

USER, FAULT, KERNEL, SWITCH = "user", "fault", "kernel", "switch"
"""What is no system call: running in user space with the host's switches to there and back; page
faults and what else stops a program; threads of the kernel, or idling; being switched to."""
IDLE = "swapper"
"""What runs when nothing does."""


@dataclass(frozen=True)
class Did:
    """What one program did of one kind: how often, and how long that took on the host (s)."""

    what: str
    count: int
    took_s: float


@dataclass(frozen=True)
class Program:
    """What the threads of one name did, what took longest first."""

    name: str
    did: Sequence[Did]

    @property
    def took_s(self) -> float:
        """Seconds of the host."""
        return sum(each.took_s for each in self.did)

    def count(self, what: str) -> int:
        """How often it did something."""
        return sum(each.count for each in self.did if each.what == what)

    @property
    def syscalls(self) -> Sequence[Did]:
        """Its system calls, the most frequent first."""
        others = (USER, FAULT, KERNEL, SWITCH)
        calls = [each for each in self.did if each.what not in others]
        return sorted(calls, key=lambda each: (-each.count, each.what))


def read_profile(text: str) -> list[Program]:
    """Read `guest.profile`: a line is `WHAT COUNT NANOSECONDS NAME`.

    What took longest comes first, idling last.

    Raises:
        ValueError: It is none.
    """
    found: dict[str, list[Did]] = defaultdict(list)
    for line in text.splitlines():
        what, count, took_ns, name = line.split(" ", 3)
        found[name].append(Did(what, int(count), int(took_ns) / 1e9))
    programs = [
        Program(name, sorted(did, key=lambda each: -each.took_s)) for name, did in found.items()
    ]
    return sorted(programs, key=lambda program: (program.name.startswith(IDLE), -program.took_s))
