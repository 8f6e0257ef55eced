"""Does to packets what an action says: pure functions of packets, time and a seeded generator.

Which packets an effect is given is decided elsewhere, and so is for how long its state is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Literal, Protocol

from testbed.censor import actions
from testbed.censor.bucket import TokenBucket
from testbed.censor.icmp import reply_to
from testbed.censor.packet import Packet
from testbed.censor.release import Release
from testbed.censor.segment import FIN, RST, ending_at_destination, ending_at_source

Scope = Literal["rule", "flow", "direction", "client"]
"""What has an effect of its own: the rule, each flow, each direction of a flow, or each direction
of each client's address."""


class Effect(Protocol):
    """An action at work."""

    def apply(self, packet: Packet, now: float) -> Sequence[Release]:
        """Return what leaves the box for a packet that came at `now` (s), which never goes back."""
        ...


class Drop:
    """Drops each packet with a probability."""

    def __init__(self, probability: float, rng: Random) -> None:
        self._probability = probability
        self._rng = rng

    def apply(self, packet: Packet, now: float) -> Sequence[Release]:
        """Drop it or not."""
        passes = self._rng.random() >= self._probability
        return (Release(now, packet.data, packet.direction),) if passes else ()


class Burst:
    """Drops in bursts of geometric length with geometric gaps (Gilbert)."""

    def __init__(self, action: actions.Burst, rng: Random) -> None:
        self._leave = 1 / action.mean_burst_packets
        passing = 1 - action.loss
        self._enter = min(1.0, self._leave * action.loss / passing) if passing > 0 else 1.0
        self._never_passes = passing == 0
        self._rng = rng
        self._dropping = rng.random() < action.loss

    def apply(self, packet: Packet, now: float) -> Sequence[Release]:
        """Drop it if the state is so, and move on."""
        dropping = self._dropping or self._never_passes
        changes = self._rng.random() < (self._leave if self._dropping else self._enter)
        self._dropping ^= changes
        return () if dropping else (Release(now, packet.data, packet.direction),)


class Police:
    """Drops what a token bucket has no tokens for."""

    def __init__(self, action: actions.Police) -> None:
        self._bucket = TokenBucket(action.rate_bps, action.burst_bytes)

    def apply(self, packet: Packet, now: float) -> Sequence[Release]:
        """Take tokens for it or drop it."""
        passes = self._bucket.take(len(packet.data), now)
        return (Release(now, packet.data, packet.direction),) if passes else ()


class Shape:
    """Sends packets one after another at a rate; what does not fit into the queue is dropped."""

    def __init__(self, action: actions.Shape) -> None:
        self._rate_bytes_per_s = action.rate_bps / 8
        self._queue_bytes = action.queue_bytes
        self._busy_until = float("-inf")

    def apply(self, packet: Packet, now: float) -> Sequence[Release]:
        """Queue it: it is released when its last bit is sent."""
        size = len(packet.data)
        begins_at = max(now, self._busy_until)
        waiting_bytes = (begins_at - now) * self._rate_bytes_per_s
        if waiting_bytes + size > self._queue_bytes:
            return ()
        self._busy_until = begins_at + size / self._rate_bytes_per_s
        return (Release(self._busy_until, packet.data, packet.direction),)


class Delay:
    """Holds packets for a time and keeps their order."""

    def __init__(self, action: actions.Delay, rng: Random) -> None:
        self._delay_s, self._jitter_s = action.delay_ms / 1000, action.jitter_ms / 1000
        self._rng = rng
        self._last_at = float("-inf")

    def apply(self, packet: Packet, now: float) -> Sequence[Release]:
        """Hold it."""
        delay_s = self._delay_s + self._jitter_s * (2 * self._rng.random() - 1)
        self._last_at = max(self._last_at, now + max(0.0, delay_s))
        return (Release(self._last_at, packet.data, packet.direction),)


class Reorder:
    """Holds some packets for a time, the others not."""

    def __init__(self, action: actions.Reorder, rng: Random) -> None:
        self._probability, self._delay_s = action.probability, action.delay_ms / 1000
        self._rng = rng

    def apply(self, packet: Packet, now: float) -> Sequence[Release]:
        """Hold it or not."""
        held = self._rng.random() < self._probability
        return (Release(now + self._delay_s * held, packet.data, packet.direction),)


class Duplicate:
    """Sends some packets twice."""

    def __init__(self, probability: float, rng: Random) -> None:
        self._probability = probability
        self._rng = rng

    def apply(self, packet: Packet, now: float) -> Sequence[Release]:
        """Send it once or twice."""
        count = 2 if self._rng.random() < self._probability else 1
        return (Release(now, packet.data, packet.direction),) * count


class Freeze:
    """Lets so much pass, then nothing."""

    def __init__(self, action: actions.Freeze, rng: Random) -> None:
        limit = action.after_packets if action.after_bytes is None else action.after_bytes
        self._left = (limit or 0) + (rng.randint(0, int(action.spread)) if action.spread else 0)
        self._in_bytes = action.after_bytes is not None
        self._counts = action.counts
        self._frozen = False

    def apply(self, packet: Packet, now: float) -> Sequence[Release]:
        """Count it, and drop it once the limit is passed."""
        if self._counts in ("both", packet.direction.value):
            self._left -= len(packet.data) if self._in_bytes else 1
            self._frozen = self._frozen or self._left < 0
        return () if self._frozen else (Release(now, packet.data, packet.direction),)


class Reset:
    """Ends TCP connections; a segment that has RST itself passes, and is answered by nothing."""

    def __init__(self, action: actions.Reset) -> None:
        self._action = action
        self._flag = RST if action.flag == "rst" else FIN

    def apply(self, packet: Packet, now: float) -> Sequence[Release]:
        """Make up what ends the connection at the ends."""
        fields = packet.tcp
        itself = Release(now, packet.data, packet.direction)
        if fields is None or fields.flags & RST:
            return (itself,)
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
        return (itself, *injected) if passes else injected


class Answer:
    """Answers packets by ICMP."""

    def __init__(self, action: actions.Answer) -> None:
        self._action = action

    def apply(self, packet: Packet, now: float) -> Sequence[Release]:
        """Make up the answer, if there is one to such a packet."""
        itself = Release(now, packet.data, packet.direction)
        reply = reply_to(packet, self._action.reply)
        if reply is None:
            return (itself,)
        answer = Release(now, reply, packet.direction.opposite)
        return (itself, answer) if self._action.packet == "pass" else (answer,)


class Listing:
    """Puts its flow on a list at the first packet; later ones pass."""

    def __init__(self, action: actions.List, enlist: Callable[[float], None]) -> None:
        self._drops = action.packet == "drop"
        self._enlist = enlist
        self._done = False

    def apply(self, packet: Packet, now: float) -> Sequence[Release]:
        """Pass it on, or drop it if it is the reason and the list says so."""
        if not self._done:
            self._done = True
            self._enlist(now)
            if self._drops:
                return ()
        return (Release(now, packet.data, packet.direction),)


def scope(action: actions.Action) -> Scope:
    """Tell what has an effect of this action of its own."""
    match action:
        case actions.Police(per="client") | actions.Shape(per="client"):
            return "client"
        case actions.Police() | actions.Shape() | actions.Burst() | actions.Delay():
            return "direction"
        case actions.Freeze() | actions.List():
            return "flow"
        case _:
            return "rule"


def effect(action: actions.Action, rng: Random, enlist: Callable[[float], None]) -> Effect | None:
    """Put an action to work; `enlist` puts the flow on the list at a time. None: it only passes."""
    match action:
        case actions.Police():
            return Police(action)
        case actions.Shape():
            return Shape(action)
        case actions.Reset():
            return Reset(action)
        case actions.Answer():
            return Answer(action)
        case actions.List():
            return Listing(action, enlist)
        case _:
            return _by_chance(action, rng)


def _by_chance(action: actions.Action, rng: Random) -> Effect | None:
    """Put an action to work that draws random numbers; None: it is not one of them."""
    made: Effect | None = None
    match action:
        case actions.Drop(probability=probability):
            made = Drop(probability, rng)
        case actions.Capacity(capacity=capacity):
            made = Drop(1 - capacity / 100, rng)
        case actions.Burst():
            made = Burst(action, rng)
        case actions.Delay():
            made = Delay(action, rng)
        case actions.Reorder():
            made = Reorder(action, rng)
        case actions.Duplicate(probability=probability):
            made = Duplicate(probability, rng)
        case actions.Freeze():
            made = Freeze(action, rng)
    return made
