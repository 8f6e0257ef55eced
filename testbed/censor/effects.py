"""Apply actions to packets, as functions of packets, time and a seeded generator.

An action (`actions`) is data; its effect here has the state, such as the tokens of a policer or the
queue of a shaper. `scope` says what shares that state: all packets of a rule, a flow, one direction
of it, or a client. The censor keeps the effects and passes packets to them.
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
of each client address."""


class Effect(Protocol):
    """The running instance of an action, with its state."""

    def apply(self, packet: Packet, now: float) -> Sequence[Release]:
        """Return what leaves the middlebox for a packet that arrived at `now` (s).

        `now` never decreases.
        """
        ...


class Drop:
    """Drops each packet with a probability."""

    def __init__(self, probability: float, rng: Random) -> None:
        self._probability = probability
        self._rng = rng

    def apply(self, packet: Packet, now: float) -> Sequence[Release]:
        """Drop the packet or let it pass."""
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
        """Drop the packet in the dropping state, and draw the next state."""
        dropping = self._dropping or self._never_passes
        changes = self._rng.random() < (self._leave if self._dropping else self._enter)
        self._dropping ^= changes
        return () if dropping else (Release(now, packet.data, packet.direction),)


class Police:
    """Drops packets for which a token bucket has too few tokens."""

    def __init__(self, action: actions.Police) -> None:
        self._bucket = TokenBucket(action.rate_bps, action.burst_bytes)

    def apply(self, packet: Packet, now: float) -> Sequence[Release]:
        """Take tokens for the packet, or drop it."""
        passes = self._bucket.take(len(packet.data), now)
        return (Release(now, packet.data, packet.direction),) if passes else ()


class Shape:
    """Sends packets one after another at a rate, and drops those that do not fit into the queue."""

    def __init__(self, action: actions.Shape) -> None:
        self._rate_bytes_per_s = action.rate_bps / 8
        self._queue_bytes = action.queue_bytes
        self._busy_until = float("-inf")

    def apply(self, packet: Packet, now: float) -> Sequence[Release]:
        """Queue the packet: it is released when its last bit has been sent."""
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
        """Hold the packet."""
        delay_s = self._delay_s + self._jitter_s * (2 * self._rng.random() - 1)
        self._last_at = max(self._last_at, now + max(0.0, delay_s))
        return (Release(self._last_at, packet.data, packet.direction),)


class Reorder:
    """Holds some packets for a time, so that later ones overtake them."""

    def __init__(self, action: actions.Reorder, rng: Random) -> None:
        self._probability, self._delay_s = action.probability, action.delay_ms / 1000
        self._rng = rng

    def apply(self, packet: Packet, now: float) -> Sequence[Release]:
        """Hold the packet or release it at once."""
        held = self._rng.random() < self._probability
        return (Release(now + self._delay_s * held, packet.data, packet.direction),)


class Duplicate:
    """Sends some packets twice."""

    def __init__(self, probability: float, rng: Random) -> None:
        self._probability = probability
        self._rng = rng

    def apply(self, packet: Packet, now: float) -> Sequence[Release]:
        """Send the packet once or twice."""
        count = 2 if self._rng.random() < self._probability else 1
        return (Release(now, packet.data, packet.direction),) * count


class Freeze:
    """Lets a number of bytes or packets pass, then nothing."""

    def __init__(self, action: actions.Freeze, rng: Random) -> None:
        limit = action.after_packets if action.after_bytes is None else action.after_bytes
        self._left = (limit or 0) + (rng.randint(0, int(action.spread)) if action.spread else 0)
        self._in_bytes = action.after_bytes is not None
        self._counts = action.counts
        self._frozen = False

    def apply(self, packet: Packet, now: float) -> Sequence[Release]:
        """Count the packet, and drop it once the limit is exceeded."""
        if self._counts in ("both", packet.direction.value):
            self._left -= len(packet.data) if self._in_bytes else 1
            self._frozen = self._frozen or self._left < 0
        return () if self._frozen else (Release(now, packet.data, packet.direction),)


class Reset:
    """Ends TCP connections; a segment that is itself an RST passes and triggers nothing."""

    def __init__(self, action: actions.Reset) -> None:
        self._action = action
        self._flag = RST if action.flag == "rst" else FIN

    def apply(self, packet: Packet, now: float) -> Sequence[Release]:
        """Build the segments that end the connection at its ends."""
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
        """Build the answer, if ICMP may answer such a packet."""
        itself = Release(now, packet.data, packet.direction)
        reply = reply_to(packet, self._action.reply)
        if reply is None:
            return (itself,)
        answer = Release(now, reply, packet.direction.opposite)
        return (itself, answer) if self._action.packet == "pass" else (answer,)


class Listing:
    """Puts its flow on a list at the first packet; later packets pass."""

    def __init__(self, action: actions.List, enlist: Callable[[float], None]) -> None:
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
        return (Release(now, packet.data, packet.direction),)


def scope(action: actions.Action) -> Scope:
    """Return what has an effect of its own for this action."""
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
    """Return the effect of an action, or None if it only lets packets pass.

    `enlist` puts the flow on the action's list at a time (s).
    """
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
    """Return the effect of an action that draws random numbers, or None for any other action."""
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
