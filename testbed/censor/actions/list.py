"""The action `list`: put a flow on a list.

Entries take effect, last and expire as `testbed.censor.lists` describes. The calibration measures
their times by the rules that match `listed` (`testbed.tools.calibration.times`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import ClassVar, Literal

from testbed.censor.action import FORBID_UNKNOWN_KEYS, Action, PassOrDrop, Scope, passed
from testbed.censor.packet import Packet
from testbed.censor.release import Release
from testbed.censor.trial import Harm, Sample

By = Literal["2-tuple", "3-tuple", "4-tuple", "server", "server-address"]
"""The key under which a list remembers a flow, besides the protocol: client and server address;
these and the server's port; both addresses and ports; the server's address and port; the server's
address alone. The *server* is the destination of a flow's first packet."""


@dataclass(frozen=True)
class List(Action):
    """Put a flow on a list, once; rules that match `listed` decide what happens to listed flows."""

    __pydantic_config__ = FORBID_UNKNOWN_KEYS
    acts: ClassVar[bool] = False
    may_meet: ClassVar[frozenset[Harm]] = frozenset({"lost"})
    list: str
    """The list's name."""
    by: By
    for_s: float | None = None
    """How long an entry stays on the list, from the packet that triggered it; None: for the rest of
    the run."""
    restarts: bool = False
    """True: each further flow that a rule hits because of the list restarts that time."""
    cycle_min_s: float = 0.0
    cycle_max_s: float = 0.0
    """The list is updated in cycles, whose lengths are drawn between these. The first one begins at
    the time origin (`Censor.begin`), which is the dialling of a cell's call. An entry takes effect
    at the next update; 0: at once."""
    delay_median_s: float | None = None
    delay_p95_s: float | None = None
    delay_max_s: float | None = None
    """An entry takes effect after a delay, drawn for each entry from the log-normal distribution
    with this median and this 95th percentile, truncated at the maximum; None: at once."""
    packet: PassOrDrop = "pass"
    """What happens to the packet that triggered the entry."""
    kind: Literal["list"] = "list"

    def __post_init__(self) -> None:
        if self.for_s is not None and self.for_s <= 0:
            raise ValueError("for_s: must be more than 0")
        if not 0 <= self.cycle_min_s <= self.cycle_max_s:
            raise ValueError("cycle_min_s, cycle_max_s: 0 <= cycle_min_s <= cycle_max_s must hold")
        self._check_delay()

    @property
    def scope(self) -> Scope:
        """Return that each flow is listed once."""
        return "flow"

    def effect(self, rng: Random, enlist: Callable[[float], None]) -> _Listing:
        """Return the effect on a flow that is not listed yet."""
        return _Listing(self, enlist)

    def has_worked(self, sample: Sample) -> bool:
        """Return whether only the packet that triggered the entry was lost, if it should be."""
        lost = [each for each in sample.packets if not each.passed]
        return lost == list(sample.packets[: self.packet == "drop"])

    def _check_delay(self) -> None:
        names = "delay_median_s, delay_p95_s, delay_max_s"
        given = [self.delay_median_s, self.delay_p95_s, self.delay_max_s]
        delays = [each for each in given if each is not None]
        if len(delays) not in (0, len(given)):
            raise ValueError(f"{names}: all of them or none must be given")
        if delays and self.cycle_max_s:
            raise ValueError(f"{names}: a list that is updated in cycles has no other delay")
        if delays and (delays[0] <= 0 or delays != sorted(delays)):
            raise ValueError(f"{names}: each must be more than 0 and at least the one before")


class _Listing:
    """Puts its flow on a list at the first packet; later packets pass."""

    def __init__(self, action: List, enlist: Callable[[float], None]) -> None:
        self._drops = action.packet == "drop"
        self._enlist = enlist
        self._done = False

    def apply(self, packet: Packet, now: float) -> Sequence[Release]:
        """Let the packet pass, or drop it if it is the first and the action says so."""
        if not self._done:
            self._done = True
            self._enlist(now)
            if self._drops:
                return ()
        return passed(packet, now)


ACTION = List
