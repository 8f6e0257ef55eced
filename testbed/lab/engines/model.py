"""Conduct the calls of a modelled messenger, with the dialects and models of `testbed.call`.

Both ends of a call run here. A call has one path for each protocol that reaches the relay (and one
between the ends, if the messenger has peer-to-peer calls), in order of preference. They are used as
by libwebrtc's ICE:

- All paths are set up at the same time, and the call uses the most preferred one that is connected.
- Once an end's first path has passed its check, the end gathers no more addresses. If TCP was fast
  and UDP had to be retried, the call therefore stays on TCP.
- Paths less preferred than the one in use are dropped, so a call that falls silent ends.

Source: libwebrtc's `p2p_transport_channel.cc`, MaybeStopPortAllocatorSessions and PruneConnections.
In this lab Chromium 156 and ntgcalls 3.0.5 stayed on TCP when UDP became available after 4 s, and
failed when UDP was cut 11 s after dialling.

Two simplifications: during its first 10 s libwebrtc keeps dropped paths (Chromium fell back to TCP
when UDP was cut after 7 s); and ICE may pair one end's UDP with the other's TCP, whereas here both
ends use the same path.

To save system calls, media that goes through a channel with timestamps moves in bursts: a sender
hands the kernel a burst of datagrams with their departure times, and a receiver reads a burst of
datagrams with their arrival times. Messengers that retransmit (NACK) must react to each packet, and
do without bursts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from pathlib import Path as Folder
from random import Random

import trio

from testbed.call.call_setup import Setup
from testbed.call.dialects import DIALECTS, SIGNALLED, PathProtocol, Session, Stage
from testbed.call.messenger import Messenger
from testbed.experiment.cell import TAIL_S
from testbed.lab.engines.engine import LabEngine, Setting, Way
from testbed.lab.engines.ice_path import Leg, Path
from testbed.lab.engines.media_end import MediaEnd, Timed
from testbed.lab.engines.signalling import message, receive, sign_in
from testbed.lab.nodes.host import LOST, LabHost
from testbed.lab.nodes.tls_streams import TlsStream
from testbed.lab.servers.messenger_servers import run_relay, serve_relay_streams
from testbed.record.observation import CallRecord
from testbed.transport.interface import Address

BURST_S = 1.0
"""The duration of a burst, and the interval at which arrivals are read, if senders do not adapt;
otherwise `Adaptation.burst_s` applies."""
_BURST_LEAD_S = 0.05
"""How long before its first departure a burst is handed over."""
_ENDS = ("caller", "callee")
_PORTS = range(32768, 61000)
"""Linux's default range of ephemeral ports (ip-sysctl, `ip_local_port_range`)."""
_when = itemgetter(0)


@dataclass(eq=False)
class _Talker:
    """One end's connection to the messenger's server."""

    host: LabHost
    signalling: TlsStream | None = None


class ModelEngine:
    """Both ends of a modelled messenger, driven by its dialect and its time-outs."""

    def __init__(self, setting: Setting) -> None:
        self._messenger = setting.messenger
        self._rng = setting.rng
        self._frames = setting.frames
        self._job = setting.job
        self._chat_server = setting.chat_server
        self._talkers: list[_Talker] = []
        self._no_signalling: CallRecord | None = None

    async def serve_relay(self, servers: LabHost, relay: Address) -> None:
        """Run the relay of the messenger's dialect on each of its protocols."""
        make_dialect, make_relay = DIALECTS[self._messenger.dialect]
        for protocol in self._messenger.relay_protocols:
            if protocol == "udp":
                servers.start_task(partial(run_relay, servers, relay.port, make_relay()))
                continue
            framing = make_dialect.framing
            is_tls = protocol == "tls"
            port = self._messenger.relay_tls_port if is_tls else relay.port
            job = self._job if is_tls else None
            await serve_relay_streams(servers, port, make_relay(), framing, tls=job)

    async def prepare(self, caller: LabHost, callee: LabHost) -> None:
        """Sign in, if the dialect models signalling."""
        if DIALECTS[self._messenger.dialect][0].signalling:
            self._talkers = [_Talker(host) for host in (caller, callee)]
            timeout_s = self._messenger.connect_timeout_s
            found = await sign_in(self._talkers, self._chat_server, self._job, timeout_s)
            self._no_signalling = found

    async def call(self, caller: Way, callee: Way, duration_s: float) -> CallRecord:
        """Dial now, talk for `duration_s` from the set-up, hang up."""
        if self._no_signalling is not None:
            return self._no_signalling
        record = CallRecord()
        paths = self._paths((caller, callee))
        call = _Call(record, self._messenger, paths, self._frames)
        tls_port, job = self._messenger.relay_tls_port, self._job
        async with trio.open_nursery() as nursery:
            is_over, changes = trio.open_memory_channel[Path](math.inf)
            for path in call.paths:
                nursery.start_soon(call.serve, path, (caller, callee), tls_port, job, is_over)
            for number, talker in enumerate(self._talkers):
                nursery.start_soon(call.signal, number, talker)
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
        await self._close(call)
        return record

    async def _close(self, call: _Call) -> None:
        """Close the signalling of both ends and the channels of all paths."""
        legs = [leg for path in call.paths for leg in path.legs]
        signalling = [talker.signalling for talker in self._talkers]
        for stream in (*signalling, *(leg.channel for leg in legs)):
            if stream is not None:
                await trio.aclose_forcefully(stream)

    def _paths(self, ways: Sequence[Way]) -> list[Path]:
        """Return the paths in order of preference; through a transport there is only UDP."""
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
        adaptation = self._messenger.adaptation
        began_at = trio.current_time() + _BURST_LEAD_S
        async with trio.open_nursery() as nursery:
            for end in call.ends:
                end.heard_at = began_at
                end.begin(began_at + self._rng.random() * frame_s)
                nursery.start_soon(call.send, end)
            if adaptation is not None:
                for end in call.ends:
                    rng = Random(self._rng.random())
                    nursery.start_soon(call.report, end, adaptation.report_interval_s, rng)
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

    def __init__(
        self,
        record: CallRecord,
        messenger: Messenger,
        paths: Sequence[Path],
        frames: Mapping[str, Sequence[Sequence[bytes]]],
    ) -> None:
        self.record = record
        self.paths = paths
        self.dialled_at = trio.current_time()
        self.ends = [
            MediaEnd("caller", messenger, frames["up"], record.up, record.down),
            MediaEnd("callee", messenger, frames["down"], record.down, record.up),
        ]
        self._messenger = messenger
        self._burst_s = messenger.adaptation.burst_s if messenger.adaptation else BURST_S
        self._path: Path | None = None

    def reason(self) -> str:
        """Return what the set-up waited for in vain, on each path in order of preference."""
        waits = []
        for path in self.paths:
            by = f" by {path.protocol}" if len(self.paths) > 1 else ""
            waiting = [leg for leg in path.legs if leg.setup.connected_at is None]
            waits += [leg.waits_for + by for leg in waiting]
        return f"no answer within {self._messenger.connect_timeout_s:g} s: {', '.join(waits)}"

    def take_best(self) -> bool:
        """Use the most preferred path that is connected; return whether there is one."""
        best = next((path for path in self.paths if path.is_connected), None)
        if best is not None and best is not self._path:
            self._path = best
            if len(self.paths) > 1:
                at = trio.current_time() - self.dialled_at
                self.record.states.append((at, "call", f"by {best.protocol}"))
        return best is not None

    async def signal(self, number: int, talker: _Talker) -> None:
        """Exchange the dialect's signalling for one end, then let its set-ups go on."""
        stream = talker.signalling
        assert stream is not None
        with suppress(*LOST):
            for is_caller, size in self.paths[0].legs[number].dialect.signalling:
                if is_caller is (number == 0):
                    await stream.send_all(message(b"S", bytes(size)))
                else:
                    await receive(stream)
            for leg in (path.legs[number] for path in self.paths):
                for datagram in leg.setup.receive(SIGNALLED, trio.current_time()):
                    if leg.channel is not None:
                        await leg.channel.send(datagram)

    def stop_gathering(self, checked: Leg) -> None:
        """Abandon the paths on which an end has no address yet, since another passed its check."""
        for path in self.paths:
            for leg in path.legs:
                if leg.end == checked.end and leg.setup.stage is Stage.GATHERING:
                    path.give_up()

    async def serve(
        self,
        path: Path,
        ways: Sequence[Way],
        tls_port: int,
        job: Folder,
        is_over: trio.MemorySendChannel[Path],
    ) -> None:
        """Set a path up, report when this is over, then receive what arrives by it."""
        await path.set_up(ways, tls_port=tls_port, job=job, checked=self.stop_gathering)
        path.is_over = True
        is_over.send_nowait(path)
        if path.is_connected:
            async with trio.open_nursery() as nursery:
                for end in self.ends:
                    nursery.start_soon(self._hear, end, path.legs[end.number])

    async def _hear(self, end: MediaEnd, leg: Leg) -> None:
        """Note each datagram as it arrives; `watch` reads the channels with timestamps."""
        assert leg.channel is not None
        if self._is_timed(leg):
            return
        with suppress(*LOST):
            async for datagram in leg.channel:
                for reply in end.take(leg, datagram, trio.current_time(), self.dialled_at):
                    await leg.channel.send(reply)

    def _is_timed(self, leg: Leg) -> bool:
        """Whether media moves in bursts: retransmission requests cannot wait for one."""
        return leg.timed is not None and not self._messenger.repair.nack

    def _read_timed(self, *ends: MediaEnd) -> None:
        """Note what has arrived on channels with timestamps since they were last read."""
        for path in self.paths:
            for end in ends:
                leg = path.legs[end.number]
                if path.is_connected and leg.timed is not None and self._is_timed(leg):
                    for at, datagram in leg.timed.receive_stamped():
                        end.take(leg, datagram, at, self.dialled_at)

    async def report(self, end: MediaEnd, interval_s: float, rng: Random) -> None:
        """Report losses to the other end after half an interval, then each 0.5 to 1.5 intervals."""
        await trio.sleep(interval_s / 2)
        while True:
            self._read_timed(end)
            leg = self._leg(end)
            datagram = end.report(leg)
            if datagram is not None and leg.channel is not None:
                with suppress(*LOST):
                    await leg.channel.send(datagram)
            await trio.sleep(interval_s * (0.5 + rng.random()))

    async def watch(self, until: float) -> MediaEnd | None:
        """Read arrivals and choose the path once per burst; return an end that hears nothing.

        Return None if the call lasts until its time is up.
        """
        patience_s = self._messenger.silence_timeout_s
        self._read_timed(*self.ends)  # some channels record timestamps only from the first read on
        while (now := trio.current_time()) < until:
            # Arrivals since the last read are not known yet: an end may turn out to be alive then.
            too_long_at = min(end.heard_at for end in self.ends) + patience_s
            await trio.sleep_until(min(now + self._burst_s, too_long_at, until))
            self._read_timed(*self.ends)
            self.take_best()
            for end in self.ends:
                if trio.current_time() - end.heard_at >= patience_s:
                    return end
        return None

    async def send(self, end: MediaEnd) -> None:
        """Send frames at their times by the path in use then; in bursts, if it is timed.

        The path can change at any moment, so the leg is looked up again after each wait. Without
        bursts each frame is sent on its own; copies due after the next frame are kept in `later`.
        """
        first_at, burst_s = end.schedule[0], self._burst_s
        index, later = 0, list[Timed]()
        while index < len(end.schedule):
            at = end.schedule[index]
            burst = math.floor((at - first_at) / burst_s + 1e-6)
            if self._is_timed(self._leg(end)):
                await trio.sleep_until(first_at + burst * burst_s - _BURST_LEAD_S)
            else:
                await trio.sleep_until(at)
            leg = self._leg(end)  # the path may have changed during the wait
            until = first_at + (burst + 1) * burst_s
            is_timed = self._is_timed(leg)
            if is_timed and self._messenger.adaptation is not None:
                self._read_timed(end)
            from_at, batch = at, list[Timed]()
            while index < len(end.schedule) and (at := end.schedule[index]) < until:
                batch += end.packets(leg, index)
                end.sends.sent_s.append((at if is_timed else trio.current_time()) - self.dialled_at)
                index += 1
                if not is_timed:
                    until = end.schedule[index] if index < len(end.schedule) else until
                    break
            batch = sorted(later + batch + end.beside(leg, from_at, until), key=_when)
            later = [] if is_timed else [timed for timed in batch if timed[0] >= until]
            await self._hand_over(leg, batch[: len(batch) - len(later)], is_timed=is_timed)
        if later:
            await self._hand_over(self._leg(end), later, is_timed=False)

    async def _hand_over(self, leg: Leg, batch: Sequence[Timed], *, is_timed: bool) -> None:
        if is_timed:
            assert leg.timed is not None
            leg.timed.send_at(batch)
            return
        assert leg.channel is not None
        for at, datagram in batch:
            await trio.sleep_until(at)
            with suppress(*LOST):
                await leg.channel.send(datagram)

    def _leg(self, end: MediaEnd) -> Leg:
        assert self._path is not None
        return self._path.legs[end.number]


ENGINE = LabEngine(
    make=ModelEngine, is_model=True, nack=True, relay_protocols=("udp", "tcp", "tls")
)
