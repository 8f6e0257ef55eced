"""Reads the profile of programs that a guest's kernel wrote (kernel/patches, 0013).

The kernel counts by thread name: real engines name their threads, while threads of Go and Python
programs have the name of their program.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

USER, FAULT, KERNEL, SWITCH = "user", "fault", "kernel", "switch"
"""Entries that are not system calls: running in user space, including the host's switches to and
fro; page faults and other traps; kernel threads and idling; context switches to the program."""
IDLE = "swapper"
"""The name of the kernel's idle task."""


@dataclass(frozen=True)
class Did:
    """One kind of activity of a program: how often it occurred, and its host time (s)."""

    what: str
    count: int
    took_s: float


@dataclass(frozen=True)
class Program:
    """The activities of all threads with one name, those that took longest first."""

    name: str
    did: Sequence[Did]

    @property
    def took_s(self) -> float:
        """The total host time (s)."""
        return sum(each.took_s for each in self.did)

    def count(self, what: str) -> int:
        """Return how often an activity occurred."""
        return sum(each.count for each in self.did if each.what == what)

    @property
    def syscalls(self) -> Sequence[Did]:
        """The program's system calls, the most frequent first."""
        others = (USER, FAULT, KERNEL, SWITCH)
        calls = [each for each in self.did if each.what not in others]
        return sorted(calls, key=lambda each: (-each.count, each.what))


def read_profile(text: str) -> list[Program]:
    """Parse `guest.profile`, whose lines are `WHAT COUNT NANOSECONDS NAME`.

    Return the programs in descending order of time, with idling last.

    Raises:
        ValueError: The text is not a profile.
    """
    found: dict[str, list[Did]] = defaultdict(list)
    for line in text.splitlines():
        what, count, took_ns, name = line.split(" ", 3)
        found[name].append(Did(what, int(count), int(took_ns) / 1e9))
    programs = [
        Program(name, sorted(did, key=lambda each: -each.took_s)) for name, did in found.items()
    ]
    return sorted(programs, key=lambda program: (program.name.startswith(IDLE), -program.took_s))
