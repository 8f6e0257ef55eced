"""The action `burst`: drop packets in bursts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import ClassVar, Literal

from testbed.censor.action import FORBID_UNKNOWN_KEYS, Action, Scope, check_share, passed
from testbed.censor.actions.by_chance import packets_to_see
from testbed.censor.packet import Packet
from testbed.censor.release import Release
from testbed.censor.trial import Harm, Load, Measured, Sample, Series

_IN_BURSTS = 10_000
"""The number of packets that measure bursts."""


@dataclass(frozen=True)
class Burst(Action):
    """Drop in bursts: each direction of a flow has a state that passes and one that drops all.

    This is Gilbert's model (Bell System Technical Journal 39, 1960), without errors in the good
    state.
    """

    __pydantic_config__ = FORBID_UNKNOWN_KEYS
    may_meet: ClassVar[frozenset[Harm]] = frozenset({"lost"})
    loss: float
    """The share of packets dropped in the long run."""
    mean_burst_packets: float
    """The mean number of packets dropped in a row, at least 1."""
    kind: Literal["burst"] = "burst"

    def __post_init__(self) -> None:
        check_share("loss", self.loss)
        if self.mean_burst_packets < max(1.0, self.loss / (1 - min(self.loss, 0.999999))):
            raise ValueError("mean_burst_packets: must be at least 1 and loss / (1 - loss)")

    @property
    def scope(self) -> Scope:
        """Return that each direction of a flow has its state."""
        return "direction"

    def effect(self, rng: Random, enlist: Callable[[float], None]) -> _Bursting:
        """Return the effect on a direction of a flow."""
        return _Bursting(self, rng)

    def load(self) -> Load:
        """Return as many packets as almost surely include the beginning of a burst."""
        passing = max(1e-6, 1 - self.loss)
        return Load(packets_to_see(self.loss / passing / self.mean_burst_packets))

    def has_worked(self, sample: Sample) -> bool:
        """Return whether some packets were lost and some not, unless that is certain."""
        lost = sum(not each.passed for each in sample.packets)
        return 0 < lost < len(sample.packets) or self.loss in (0, 1)

    def series(self, protocol: str) -> Iterable[Series]:
        """Return the experiment in which many packets are sent in a row."""
        del protocol
        yield Series("bursts", self._judge, Load(_IN_BURSTS // 2), is_shared=True)

    def _judge(self, flows: Sequence[Sample]) -> list[Measured]:
        runs = [
            [not each.passed for each in flow.of(up=up)] for flow in flows for up in flow.directions
        ]
        return [self._measured_loss(runs), _measured_length(runs)]

    def _measured_loss(self, runs: Sequence[Sequence[bool]]) -> Measured:
        """Return the share of lost packets; its variance accounts for losses being bursty."""
        from testbed.censor.estimates import share_interval  # noqa: PLC0415 - scipy

        n, lost = sum(map(len, runs)), sum(map(sum, runs))
        if not n:
            return Measured("loss", None, how="the rule applied to no packet")
        leave = 1 / self.mean_burst_packets
        kept = 1 - leave - leave * self.loss / max(1e-9, 1 - self.loss)
        effective = max(1, round(n * (1 - kept) / (1 + kept)))
        low, high = share_interval(round(lost / n * effective), effective)
        how = f"Clopper-Pearson, worth {effective} independent ones"
        return Measured("loss", lost / n, low, high, n, how)


def _measured_length(runs: Sequence[Sequence[bool]]) -> Measured:
    """Return the mean burst length: the inverse of the share of lost packets that end a burst."""
    from testbed.censor.estimates import share_interval  # noqa: PLC0415 - scipy

    number = "mean_burst_packets"
    pairs = [after for run in runs for before, after in pairwise(run) if before]
    ended = sum(not after for after in pairs)
    if not ended:
        return Measured(number, None, how="no burst came to an end")
    low, high = share_interval(ended, len(pairs))
    how = "Clopper-Pearson of 1/mean"
    return Measured(number, len(pairs) / ended, 1 / high, 1 / low, len(pairs), how)


class _Bursting:
    """Drops in bursts of geometric length with geometric gaps (Gilbert)."""

    def __init__(self, action: Burst, rng: Random) -> None:
        self._leave = 1 / action.mean_burst_packets
        passing = 1 - action.loss
        self._enter = min(1.0, self._leave * action.loss / passing) if passing > 0 else 1.0
        self._never_passes = passing == 0
        self._rng = rng
        self._dropping = rng.random() < action.loss

    def apply(self, packet: Packet, now: float) -> Sequence[Release]:
        """Drop the packet in the dropping state, and draw the next state."""
        dropping = self._dropping or self._never_passes
        changes = self._rng.random() < (self._leave if self._dropping else self._enter)
        self._dropping ^= changes
        return () if dropping else passed(packet, now)


ACTION = Burst
