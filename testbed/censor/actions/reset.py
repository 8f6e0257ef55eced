"""The action `reset`: end a TCP connection with forged segments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import ClassVar, Literal

from testbed.censor.action import FORBID_UNKNOWN_KEYS, Action, PassOrDrop, passed
from testbed.censor.packet import Packet
from testbed.censor.release import Release
from testbed.censor.segment import ending_at_destination, ending_at_source
from testbed.censor.trial import Sample
from testbed.transport.internet import FIN, RST


@dataclass(frozen=True)
class Reset(Action):
    """End a TCP connection with forged segments; other protocols pass."""

    __pydantic_config__ = FORBID_UNKNOWN_KEYS
    forges: ClassVar[bool] = True
    flag: Literal["rst", "fin"] = "rst"
    how: Literal["inject", "rewrite"] = "inject"
    """Inject a segment to each end for each packet, or rewrite each packet into one, without its
    payload."""
    packet: PassOrDrop = "drop"
    """What happens to the packet that triggers an injection."""
    kind: Literal["reset"] = "reset"

    def effect(self, rng: Random, enlist: Callable[[float], None]) -> _Resetting:
        """Return the effect, which has no state."""
        return _Resetting(self)

    def agrees(self, sample: Sample) -> bool:
        """Return whether each segment of a TCP connection led to the right forged segments."""
        if sample.protocol != "tcp":
            return not any(each.met for each in sample.packets)
        injects = self.how == "inject"
        flag, forged = _flag(self), sample.forged
        ways = {True, False} if injects else {each.up for each in sample.packets}
        passes = injects and self.packet == "pass"
        of_each, count = 2 if injects else 1, len(sample.packets)
        return (
            all(each.passed is passes for each in sample.packets)
            and all(each.flags & flag for each in forged)
            and of_each * count <= len(forged) <= of_each * (count + len(sample.unsure))
            and {each.up for each in forged} == ways
        )


def _flag(action: Reset) -> int:
    return RST if action.flag == "rst" else FIN


class _Resetting:
    """Ends TCP connections; a segment that is itself an RST passes and triggers nothing."""

    def __init__(self, action: Reset) -> None:
        self._action = action
        self._flag = _flag(action)

    def apply(self, packet: Packet, now: float) -> Sequence[Release]:
        """Build the segments that end the connection at its ends."""
        fields = packet.tcp
        if fields is None or fields.flags & RST:
            return passed(packet, now)
        if self._action.how == "rewrite":
            ending = ending_at_destination(packet, fields, self._flag, after=False)
            return (Release(now, ending, packet.direction),)
        passes = self._action.packet == "pass"
        forward = ending_at_destination(packet, fields, self._flag, after=passes)
        backward = ending_at_source(packet, fields, self._flag)
        injected = (
            Release(now, forward, packet.direction),
            Release(now, backward, packet.direction.opposite),
        )
        return (*passed(packet, now), *injected) if passes else injected


ACTION = Reset
