"""Plain data for the guest that finds out how a NAT behaves, and for what it leaves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from testbed.experiment.netplan import NetworkPlan

TASK_FILE, SEEN_FILE = "nat.pickle", "seen.json"
"""Files in a job's folder: a pickled `NatTask`, and the `Seen` that the guest leaves."""


class NatTask(NamedTuple):
    """The work of a guest."""

    network: NetworkPlan
    silences_s: tuple[float, ...]
    """After which silences answers are tried."""


class Seen(NamedTuple):
    """What was seen of a NAT; `None` and an empty list: nothing came out."""

    mapping: Sequence[tuple[str, int] | None]
    """The origin that each of three endpoints outside saw of one port inside: one endpoint, another
    port of its address, another address."""
    answers: Sequence[bool]
    """From which of the three answers came in, after the first alone had been addressed."""
    uninvited: bool
    """Whether a packet to the address inside came in."""
    lasting: Sequence[tuple[float, bool]]
    """After which silences (s) an answer of the one that was addressed came in."""
