"""The action `answer`: answer packets by ICMP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import ClassVar, Literal

from testbed.censor.action import FORBID_UNKNOWN_KEYS, Action, PassOrDrop, passed
from testbed.censor.icmp import TYPES, Reply, reply_to
from testbed.censor.packet import Packet
from testbed.censor.release import Release
from testbed.censor.trial import Sample

_ICMP = 1
"""ICMP's protocol number in IPv4, which is all that a calibration sends."""


@dataclass(frozen=True)
class Answer(Action):
    """Answer each packet by ICMP as if from its destination, so that the middlebox stays hidden.

    An echo reply answers only echo requests; ICMP errors and fragments after the first are never
    answered (RFC 1122, 3.2.2). Packets that are not answered pass.
    """

    __pydantic_config__ = FORBID_UNKNOWN_KEYS
    forges: ClassVar[bool] = True
    reply: Reply
    packet: PassOrDrop = "drop"
    """What happens to the packet that is answered."""
    kind: Literal["answer"] = "answer"

    def effect(self, rng: Random, enlist: Callable[[float], None]) -> _Answering:
        """Return the effect, which has no state."""
        return _Answering(self)

    def agrees(self, sample: Sample) -> bool:
        """Return whether exactly the packets that should be answered were answered."""
        packets, forged = sample.packets, sample.forged
        answered = list(packets)
        if self.reply == "echo-reply":
            is_echo = sample.protocol == "icmp"
            answered = [each for each in packets if is_echo and each.up is sample.client_up]
        kind, code = TYPES[self.reply][_ICMP]
        passes = self.packet == "pass"
        return (
            all(each.passed is (each not in answered or passes) for each in packets)
            and all(each.flags == kind << 8 | code for each in forged)
            and [each.up for each in forged] == [not each.up for each in answered]
        )


class _Answering:
    """Answers packets by ICMP."""

    def __init__(self, action: Answer) -> None:
        self._action = action

    def apply(self, packet: Packet, now: float) -> Sequence[Release]:
        """Build the answer, if ICMP may answer such a packet."""
        reply = reply_to(packet, self._action.reply)
        if reply is None:
            return passed(packet, now)
        answer = Release(now, reply, packet.direction.opposite)
        return (*passed(packet, now), answer) if self._action.packet == "pass" else (answer,)


ACTION = Answer
