"""The seam of all call engines, and the model's: what a messenger says is in `testbed.call`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import NamedTuple, Protocol

import trio

from testbed.call.dialects import DIALECTS, Dialect, Session
from testbed.call.messenger import Messenger
from testbed.call.setup import Setup
from testbed.call.wire import unwrap_sequence
from testbed.cell import TAIL_S
from testbed.lab.host import LabHost
from testbed.lab.record import CallRecord, DirectionRecord
from testbed.lab.servers import run_relay
from testbed.transport import Address, TimedChannel

Channel = trio.abc.Channel[bytes]

BURST_S = 1.0
"""How much media is handed to the kernel at once, and how often arrivals are read, if timed."""
_BURST_LEAD_S = 0.05


class Way(NamedTuple):
    """How an end reaches its relay."""

    host: LabHost
    """The end's node."""
    relay: Address
    channel: Channel | None = None
    """What carries datagrams to the relay; None: nothing is in between."""


class Setting(NamedTuple):
    """What an engine is made of."""

    messenger: Messenger
    rng: Random
    frames: Mapping[str, Sequence[bytes]]
    """The encoded speech by direction, for a model."""
    chat_server: Address
    job: Path
    """The folder with the cell's files."""


class CallEngine(Protocol):
    """Makes one call between two ends; is made of a `Setting`."""

    async def serve_relay(self, servers: LabHost, relay: Address) -> None:
        """Run the messenger's relay on the node of its servers, until that closes."""
        ...

    async def prepare(self, caller: LabHost, callee: LabHost) -> None:
        """Do what comes before a call on both ends' nodes: start programs, sign in."""
        ...

    async def call(self, caller: Way, callee: Way, duration_s: float) -> CallRecord:
        """Dial now, talk for `duration_s` from the set-up, hang up."""
        ...


@dataclass(eq=False)
class _End:
    name: str
    channel: Channel
    dialect: Dialect
    setup: Setup
    sends: DirectionRecord
    hears: DirectionRecord
    heard_at: float = 0.0

    def take(self, datagram: bytes, at: float, dialled_at: float) -> None:
        """Note a media datagram that arrived."""
        sequence = self.dialect.sequence(datagram)
        if sequence is not None:
            self.heard_at = at
            near = self.hears.received[-1][0] if self.hears.received else 0
            self.hears.received.append((unwrap_sequence(sequence, near), at - dialled_at))


class ModelEngine:
    """Both ends of a messenger that is modelled, driven by its dialect and its time-outs."""

    def __init__(self, setting: Setting) -> None:
        self._messenger = setting.messenger
        self._rng = setting.rng
        self._frames = setting.frames

    async def serve_relay(self, servers: LabHost, relay: Address) -> None:
        """Run the relay of the messenger's dialect."""
        _, make_relay = DIALECTS[self._messenger.dialect]
        servers.start_task(partial(run_relay, servers, relay.port, make_relay()))

    async def prepare(self, caller: LabHost, callee: LabHost) -> None:
        """Nothing comes before a model's call."""

    async def call(self, caller: Way, callee: Way, duration_s: float) -> CallRecord:
        """Dial now, talk for `duration_s` from the set-up, hang up."""
        record = CallRecord()
        dialled_at = trio.current_time()
        channels = [way.channel or await way.host.open_udp(way.relay) for way in (caller, callee)]
        ends = self._ends(channels, record, dialled_at)
        await _set_up(ends)
        now = trio.current_time()
        waiting = [end for end in ends if end.setup.connected_at is None]
        if waiting:
            steps = ", ".join(f"{end.name} to {end.setup.step}" for end in waiting)
            limit_s = self._messenger.connect_timeout_s
            record.reason = f"no answer within {limit_s:g} s: {steps}"
        else:
            record.set_up_s = now - dialled_at
            await self._talk(ends, record, dialled_at, duration_s)
        record.ended_s = trio.current_time() - dialled_at
        for channel in channels:
            await channel.aclose()
        return record

    def _ends(
        self, channels: Sequence[Channel], record: CallRecord, dialled_at: float
    ) -> list[_End]:
        make_dialect, _ = DIALECTS[self._messenger.dialect]
        call_id = self._rng.randbytes(16)
        ends = []
        for channel, is_caller in zip(channels, (True, False), strict=True):
            dialect = make_dialect(
                Session(call_id, is_caller), self._messenger.codec.frame_ms, self._rng
            )
            setup = Setup(dialect, dialled_at, self._messenger.connect_timeout_s)
            directions = (record.up, record.down) if is_caller else (record.down, record.up)
            name = "caller" if is_caller else "callee"
            ends.append(_End(name, channel, dialect, setup, *directions))
        return ends

    async def _talk(
        self,
        ends: Sequence[_End],
        record: CallRecord,
        dialled_at: float,
        duration_s: float,
    ) -> None:
        frame_s = self._messenger.codec.frame_ms / 1000
        began_at = trio.current_time() + _BURST_LEAD_S
        async with trio.open_nursery() as nursery:
            for end in ends:
                end.heard_at = began_at
                first_at = began_at + self._rng.random() * frame_s
                frames = self._frames["up" if end is ends[0] else "down"]
                schedule = [(first_at + k * frame_s, frame) for k, frame in enumerate(frames)]
                send = _send_bursts if isinstance(end.channel, TimedChannel) else _send_each
                nursery.start_soon(send, end, schedule, dialled_at)
                if not isinstance(end.channel, TimedChannel):
                    nursery.start_soon(_receive_each, end, dialled_at)
            silent = await self._watch(ends, dialled_at, began_at + duration_s + TAIL_S)
            nursery.cancel_scope.cancel()
        record.outcome = "completed"
        if silent is not None:
            record.outcome = "dropped"
            record.silent_s = self._messenger.silence_timeout_s
            record.reason = f"{silent.name} heard nothing for {record.silent_s:g} s"

    async def _watch(self, ends: Sequence[_End], dialled_at: float, until: float) -> _End | None:
        """Read timed channels once a burst; give the end that heard nothing for too long."""
        patience_s = self._messenger.silence_timeout_s
        while (now := trio.current_time()) < until:
            # What came since the last look is not known yet, so an end may be found alive then.
            too_long_at = min(end.heard_at for end in ends) + patience_s
            await trio.sleep_until(min(now + BURST_S, too_long_at, until))
            for end in ends:
                if isinstance(end.channel, TimedChannel):
                    for at, datagram in end.channel.receive_stamped():
                        end.take(datagram, at, dialled_at)
                if trio.current_time() - end.heard_at >= patience_s:
                    return end
        return None


async def _set_up(ends: Sequence[_End]) -> None:
    """Run both ends' set-ups until both are connected or one has given up."""

    def is_over() -> bool:
        return all(e.setup.done for e in ends) or any(e.setup.failed_at for e in ends)

    async def run(end: _End, finish: Callable[[], None]) -> None:
        while True:
            for datagram in end.setup.due(trio.current_time()):
                await end.channel.send(datagram)
            if is_over():
                break
            with trio.move_on_at(math.inf if end.setup.done else end.setup.next_at):
                datagram = await end.channel.receive()
                for reply in end.setup.receive(datagram, trio.current_time()):
                    await end.channel.send(reply)
        finish()

    async with trio.open_nursery() as nursery:
        for end in ends:
            nursery.start_soon(run, end, nursery.cancel_scope.cancel)


async def _send_bursts(
    end: _End, schedule: Sequence[tuple[float, bytes]], dialled_at: float
) -> None:
    """Hand the frames to the kernel with their times, a burst at a time."""
    assert isinstance(end.channel, TimedChannel)
    first_at = schedule[0][0]
    index = 0
    burst = 0
    while index < len(schedule):
        await trio.sleep_until(first_at + burst * BURST_S - _BURST_LEAD_S)
        burst += 1
        batch = []
        while index < len(schedule) and schedule[index][0] < first_at + burst * BURST_S:
            at, frame = schedule[index]
            batch.append((at, end.dialect.media(index, frame)))
            end.sends.sent_s.append(at - dialled_at)
            index += 1
        end.channel.send_at(batch)


async def _send_each(end: _End, schedule: Sequence[tuple[float, bytes]], dialled_at: float) -> None:
    """Send each frame at its time."""
    for index, (at, frame) in enumerate(schedule):
        await trio.sleep_until(at)
        end.sends.sent_s.append(trio.current_time() - dialled_at)
        await end.channel.send(end.dialect.media(index, frame))


async def _receive_each(end: _End, dialled_at: float) -> None:
    """Note each datagram as it arrives."""
    async for datagram in end.channel:
        end.take(datagram, trio.current_time(), dialled_at)
