"""Makes the calls of a messenger that is modelled; what it says is in `testbed.call`.

By several protocols to its relay it calls as ICE does: all paths are set up at once, the preferred
one of those that are connected is used, and one that falls silent is given up for the next. Both
ends use the same path, where ICE may pair an end's UDP with the other's TCP.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path as Folder

import trio

from testbed.call.dialects import DIALECTS, PathProtocol, Session
from testbed.call.messenger import Messenger
from testbed.call.setup import Setup
from testbed.call.wire import unwrap_sequence
from testbed.cell import TAIL_S
from testbed.lab.engine import Setting, Way
from testbed.lab.host import LabHost
from testbed.lab.paths import LOST, Leg, Path
from testbed.lab.record import CallRecord, DirectionRecord
from testbed.lab.servers import run_relay, serve_relay_streams
from testbed.transport import Address, TimedChannel

BURST_S = 1.0
"""How much media is handed to the kernel at once, and how often arrivals are read, if timed."""
_BURST_LEAD_S = 0.05
_ENDS = ("caller", "callee")
_PORTS = range(32768, 61000)
"""From which Linux gives a socket its own (ip-sysctl, `ip_local_port_range`)."""


@dataclass(eq=False)
class _End:
    name: str
    number: int
    """Which of a path's legs is its own."""
    sends: DirectionRecord
    hears: DirectionRecord
    heard_at: float = 0.0

    def take(self, leg: Leg, datagram: bytes, at: float, dialled_at: float) -> None:
        """Note a media datagram that arrived."""
        sequence = leg.dialect.sequence(datagram)
        if sequence is not None:
            leg.heard_at = self.heard_at = at
            near = self.hears.received[-1][0] if self.hears.received else 0
            self.hears.received.append((unwrap_sequence(sequence, near), at - dialled_at))


class ModelEngine:
    """Both ends of a messenger that is modelled, driven by its dialect and its time-outs."""

    def __init__(self, setting: Setting) -> None:
        self._messenger = setting.messenger
        self._rng = setting.rng
        self._frames = setting.frames
        self._job = setting.job

    async def serve_relay(self, servers: LabHost, relay: Address) -> None:
        """Run the relay of the messenger's dialect, by each of its protocols."""
        make_dialect, make_relay = DIALECTS[self._messenger.dialect]
        for protocol in self._messenger.relay_protocols:
            if protocol == "udp":
                servers.start_task(partial(run_relay, servers, relay.port, make_relay()))
                continue
            framing = make_dialect.framing
            assert framing is not None
            is_tls = protocol == "tls"
            port = self._messenger.relay_tls_port if is_tls else relay.port
            job = self._job if is_tls else None
            await serve_relay_streams(servers, port, make_relay(), framing, tls=job)

    async def prepare(self, caller: LabHost, callee: LabHost) -> None:
        """Nothing comes before a model's call."""

    async def call(self, caller: Way, callee: Way, duration_s: float) -> CallRecord:
        """Dial now, talk for `duration_s` from the set-up, hang up."""
        record = CallRecord()
        call = _Call(record, self._messenger, self._paths((caller, callee)))
        tls_port, job = self._messenger.relay_tls_port, self._job
        async with trio.open_nursery() as nursery:
            is_over, changes = trio.open_memory_channel[Path](math.inf)
            for path in call.paths:
                nursery.start_soon(call.serve, path, (caller, callee), tls_port, job, is_over)
            async for path in changes:
                if path.is_connected or all(p.is_over for p in call.paths):
                    break
            if call.take_best():
                record.set_up_s = trio.current_time() - call.dialled_at
                await self._talk(call, duration_s)
            else:
                record.reason = call.reason()
            nursery.cancel_scope.cancel()
        record.ended_s = trio.current_time() - call.dialled_at
        for leg in (leg for path in call.paths for leg in path.legs):
            if leg.channel is not None:
                await trio.aclose_forcefully(leg.channel)
        return record

    def _paths(self, ways: Sequence[Way]) -> list[Path]:
        """Give the paths, the preferred first; through a transport there is only UDP."""
        messenger, now = self._messenger, trio.current_time()
        make_dialect, _ = DIALECTS[messenger.dialect]
        is_direct = all(way.is_direct for way in ways)
        protocols: list[PathProtocol] = ["peer"] if messenger.peer_to_peer and is_direct else []
        protocols += messenger.relay_protocols if is_direct else messenger.relay_protocols[:1]
        paths = []
        for protocol in protocols:
            call_id = self._rng.randbytes(16)
            legs = []
            for name in _ENDS:
                session = Session(call_id, name == "caller", protocol)
                dialect = make_dialect(session, messenger.codec.frame_ms, self._rng)
                setup = Setup(dialect, now, messenger.connect_timeout_s)
                port = self._rng.choice(_PORTS) if protocol == "peer" else 0
                legs.append(Leg(name, dialect, setup, port))
            paths.append(Path(protocol, legs))
        return paths

    async def _talk(self, call: _Call, duration_s: float) -> None:
        frame_s = self._messenger.codec.frame_ms / 1000
        began_at = trio.current_time() + _BURST_LEAD_S
        async with trio.open_nursery() as nursery:
            for end, way in zip(call.ends, ("up", "down"), strict=True):
                end.heard_at = began_at
                first_at = began_at + self._rng.random() * frame_s
                frames = self._frames[way]
                schedule = [(first_at + k * frame_s, frame) for k, frame in enumerate(frames)]
                nursery.start_soon(call.send, end, schedule)
            silent = await call.watch(began_at + duration_s + TAIL_S)
            nursery.cancel_scope.cancel()
        record = call.record
        record.outcome = "completed"
        if silent is not None:
            record.outcome = "dropped"
            record.silent_s = self._messenger.silence_timeout_s
            record.reason = f"{silent.name} heard nothing for {record.silent_s:g} s"


class _Call:
    """One call: its ends, its paths, and which of them is used."""

    def __init__(self, record: CallRecord, messenger: Messenger, paths: Sequence[Path]) -> None:
        self.record = record
        self.paths = paths
        self.dialled_at = trio.current_time()
        self.ends = [
            _End("caller", 0, record.up, record.down),
            _End("callee", 1, record.down, record.up),
        ]
        self._messenger = messenger
        self._path: Path | None = None

    def reason(self) -> str:
        """Say on what the set-up waited in vain, by the preferred path first."""
        waits = []
        for path in self.paths:
            by = f" by {path.protocol}" if len(self.paths) > 1 else ""
            waiting = [leg for leg in path.legs if leg.setup.connected_at is None]
            waits += [leg.waits_for + by for leg in waiting]
        return f"no answer within {self._messenger.connect_timeout_s:g} s: {', '.join(waits)}"

    def take_best(self) -> bool:
        """Use the preferred path of those that are connected and not silent; tell if there is one.

        If all have fallen silent, the one that is used stays.
        """
        now = trio.current_time()
        best = next((p for p in self.paths if p.is_connected and not p.is_given_up), self._path)
        if best is not None and best is not self._path:
            self._path = best
            for leg in best.legs:
                leg.heard_at = now
            if len(self.paths) > 1:
                self.record.states.append((now - self.dialled_at, "call", f"by {best.protocol}"))
        return best is not None

    async def serve(
        self,
        path: Path,
        ways: Sequence[Way],
        tls_port: int,
        job: Folder,
        is_over: trio.MemorySendChannel[Path],
    ) -> None:
        """Set a path up, tell that this is over, and hear what comes by it."""
        await path.set_up(ways, tls_port=tls_port, job=job)
        path.is_over = True
        is_over.send_nowait(path)
        if path.is_connected:
            async with trio.open_nursery() as nursery:
                for end in self.ends:
                    nursery.start_soon(self._hear, end, path.legs[end.number])

    async def _hear(self, end: _End, leg: Leg) -> None:
        """Note each datagram as it arrives; a timed channel is read by `watch`."""
        assert leg.channel is not None
        if isinstance(leg.channel, TimedChannel):
            return
        with suppress(*LOST):
            async for datagram in leg.channel:
                end.take(leg, datagram, trio.current_time(), self.dialled_at)

    async def watch(self, until: float) -> _End | None:
        """Read timed channels once a burst and choose the path; give an end that is deserted."""
        patience_s = self._messenger.silence_timeout_s
        while (now := trio.current_time()) < until:
            # What came since the last look is not known yet, so an end may be found alive then.
            too_long_at = min(end.heard_at for end in self.ends) + patience_s
            await trio.sleep_until(min(now + BURST_S, too_long_at, until))
            for path in self.paths:
                for end in self.ends:
                    leg = path.legs[end.number]
                    if path.is_connected and isinstance(leg.channel, TimedChannel):
                        for at, datagram in leg.channel.receive_stamped():
                            end.take(leg, datagram, at, self.dialled_at)
            self._give_up_silent()
            self.take_best()
            for end in self.ends:
                if trio.current_time() - end.heard_at >= patience_s:
                    return end
        return None

    def _give_up_silent(self) -> None:
        assert self._path is not None
        heard_at = min(leg.heard_at for leg in self._path.legs)
        if trio.current_time() - heard_at > self._messenger.fallback_after_s:
            self._path.is_given_up = True

    async def send(self, end: _End, schedule: Sequence[tuple[float, bytes]]) -> None:
        """Send frames at their times by the path that is used then: timed, a burst at a time."""
        first_at = schedule[0][0]
        index = 0
        while index < len(schedule):
            at = schedule[index][0]
            burst = math.floor((at - first_at) / BURST_S + 1e-6)
            if isinstance(self._leg(end).channel, TimedChannel):
                await trio.sleep_until(first_at + burst * BURST_S - _BURST_LEAD_S)
            else:
                await trio.sleep_until(at)
            leg = self._leg(end)  # by now it may be another
            until = first_at + (burst + 1) * BURST_S
            is_timed = isinstance(leg.channel, TimedChannel)
            batch = []
            while index < len(schedule) and (at := schedule[index][0]) < until:
                batch.append((at, leg.dialect.media(index, schedule[index][1])))
                index += 1
                if not is_timed:
                    break
            await self._hand_over(end, leg, batch)

    async def _hand_over(self, end: _End, leg: Leg, batch: Sequence[tuple[float, bytes]]) -> None:
        if isinstance(leg.channel, TimedChannel):
            end.sends.sent_s += [at - self.dialled_at for at, _ in batch]
            leg.channel.send_at(batch)
            return
        assert leg.channel is not None
        for _, datagram in batch:
            end.sends.sent_s.append(trio.current_time() - self.dialled_at)
            with suppress(*LOST):
                await leg.channel.send(datagram)

    def _leg(self, end: _End) -> Leg:
        assert self._path is not None
        return self._path.legs[end.number]
