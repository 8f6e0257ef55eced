"""Define what actions have in common that affect each packet independently with a probability."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, log
from typing import ClassVar

from testbed.censor.action import Action
from testbed.censor.trial import Fared, Load, Measured, Sample, Series

_UNSEEN = 1e-5
"""The probability with which a load fails to reveal its action."""
_LEAST, _MOST, _OF_CERTAIN = 4000, 12_000, 1000
"""Numbers of packets that measure a probability: the least, the most, and for one of 0 or 1."""
_WITH_EACH = 400
"""How many packets should have the rarer outcome, unless that takes more than `_MOST`."""


def packets_to_see(probability: float) -> int:
    """Return how many packets almost surely include one that is affected."""
    if probability >= 1:
        return 6
    return min(2000, max(20, ceil(log(_UNSEEN) / log(1 - probability)))) if probability else 200


@dataclass(frozen=True)
class ByChance(Action):
    """An action that affects each packet independently, with a probability."""

    number: ClassVar[str] = "probability"
    """The name of the number that sets the probability."""

    @property
    @abstractmethod
    def share(self) -> float:
        """Return the share of packets that it affects."""

    def load(self) -> Load:
        """Return as many packets as almost surely include one that is affected."""
        return Load(packets_to_see(self.share))

    def has_worked(self, sample: Sample) -> bool:
        """Return whether about its share was affected, in each direction with enough packets."""
        from testbed.censor.estimates import OF_VECTORS, share_interval  # noqa: PLC0415 - scipy

        hits = [each for each in sample.packets if each.met]
        low, high = share_interval(len(hits), len(sample.packets), OF_VECTORS)
        if not low <= self.share <= high:
            return False
        least = packets_to_see(self.share)
        ways = [up for up in sample.directions if len(sample.of(up=up)) >= least]
        return not self.share or all(any(each.up is up for each in hits) for up in ways)

    def series(self, protocol: str) -> Iterable[Series]:
        """Return the experiment that counts the packets that were affected."""
        del protocol
        rarer = min(self.share, 1 - self.share)
        count = min(_MOST, max(_LEAST, round(_WITH_EACH / rarer))) if rarer > 0 else _OF_CERTAIN

        def judge(flows: Sequence[Sample]) -> list[Measured]:
            return self.measured([each for flow in flows for each in flow.packets])

        yield Series("share", judge, Load(count // 2), is_shared=True, wait_s=1 + self.holds_s)

    def measured(self, packets: Sequence[Fared]) -> list[Measured]:
        """Return what packets show of the action's numbers."""
        if not packets:
            return [Measured(self.number, None, how="the rule applied to no packet")]
        from testbed.censor.estimates import share_interval  # noqa: PLC0415 - scipy

        hits = sum(bool(each.met & self.may_meet) for each in packets)
        low, high = share_interval(hits, len(packets))
        share = hits / len(packets)
        return [Measured(self.number, share, low, high, len(packets), "Clopper-Pearson")]
