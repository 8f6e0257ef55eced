"""Record the call of a real engine: its course, and the frames that it sent and received.

All real engines are observed in the same manner, from outside. A tap on each end's node (`Tap`)
notes the datagrams between the engine and its relay. After the call the relay's envelope is removed
from them, and the RTP headers show which frames were sent and which arrived (`rtp_frames`). An
engine reports its connection's states as `Change`s; they decide whether and when the call was set
up, completed or dropped.

If the call goes through a transport, the engine uses a local UDP port as its relay, and the
transport's channel carries what arrives there (`_lend_port`).
"""

from __future__ import annotations

import math
import wave
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import trio

from testbed.call.adaptation import Sender
from testbed.call.messenger import Messenger
from testbed.experiment.cell import SAID_FILES, SOUND_RATE_HZ, TAIL_S
from testbed.lab.engines import rtp_frames
from testbed.lab.engines.engine import Way
from testbed.lab.engines.rtp_frames import OPUS, Types
from testbed.lab.engines.signalling import End
from testbed.lab.nodes.host import LabHost
from testbed.lab.nodes.tap import Seen, Tap
from testbed.record.observation import CallRecord, DirectionRecord
from testbed.transport.interface import Address

ENDS = (("caller", "up", "down"), ("callee", "down", "up"))
"""Each end's name, the direction in which it speaks, and the one that it hears."""


_RTP_VERSION = 2
"""The first two bits of RTP and RTCP (RFC 3550, 5.1), but not of STUN and DTLS (RFC 7983)."""


class Change(NamedTuple):
    """An end's connection entered a state."""

    end: str
    at: float
    state: str


@dataclass(frozen=True)
class States:
    """An engine's names for the states of its connection."""

    connected: str
    final: Mapping[str, str]
    """The states from which the connection does not recover, and what each means."""


@dataclass(frozen=True)
class Envelope:
    """How a relay's protocol carries packets of media."""

    unwrap: Callable[[bytes], bytes]
    """Return the media packet in a datagram, or an empty one if there is none."""
    take: Callable[[bytearray], bytes | None]
    """Remove and return the first datagram of a TCP stream's buffer; None if it is incomplete."""
    types: Types = OPUS
    """The RTP payload types of packets with the call's frames."""
    sender: Callable[[bytes], bytes] = lambda _: b""
    """Return an identifier of the socket that sent a datagram to the relay, if it has several."""
    is_bare: Callable[[bytes], bool] = lambda _: False
    """Return whether a datagram has no envelope, as the ends exchange it without the relay."""
    receiver: Callable[[bytes], bytes] = lambda _: b""
    """Return the identifier of the socket that a datagram from the relay is for."""


def microphone(job: Path, direction: str, silence_s: float = 0.0) -> Path:
    """Write what is said in a direction as a WAV file, and return its path.

    `silence_s` of silence is appended, for programs that start to play the file before the call is
    set up and hang up at its end.
    """
    said = job / SAID_FILES[direction]
    path = said.with_suffix(".wav")
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SOUND_RATE_HZ, 0, "NONE", ""))
        file.writeframes(said.read_bytes() + bytes(2 * round(silence_s * SOUND_RATE_HZ)))
    return path


class RealCall:
    """One call of an engine from dialling on: records its course and its frames."""

    def __init__(
        self, messenger: Messenger, states: States, envelope: Envelope, duration_s: float
    ) -> None:
        self.record = CallRecord()
        self.told, self._changes = trio.open_memory_channel[Change](math.inf)
        """The channel to which changes of an end's state are sent."""
        self._messenger = messenger
        self._states = states
        self._envelope = envelope
        self._duration_s = duration_s
        self._dialled_at = trio.current_time()
        self._taps: list[Tap] = []
        self._hosts: list[LabHost] = []

    async def reach(self, way: Way, protocols: Sequence[str]) -> tuple[Address, Sequence[str]]:
        """Return the relay's address for an end's engine, and the protocols; start to tap them.

        Through a transport the address is a local UDP port, which the transport's channel carries.
        Call this for the caller first, then for the callee.
        """
        relay = way.relay
        self._hosts.append(way.host)
        if way.channel is not None and not way.is_direct:
            relay = await _lend_port(way.host, way.channel, way.relay.port, self._envelope)
            protocols = ("udp",)
        peers = self._messenger.peer_to_peer
        self._taps.append(way.host.watch(relay, self._envelope.take, peers=peers))
        return relay, protocols

    async def talk(
        self, begin: Callable[[], Awaitable[object]], timeout_s: float = math.inf
    ) -> None:
        """Record the course until it is time to hang up; `begin` makes both ends talk and hear.

        The set-up is abandoned after `timeout_s`, for engines without a time-out of their own.
        """
        record, dialled_at = self.record, self._dialled_at
        connected: set[str] = set()
        with trio.CancelScope(deadline=dialled_at + timeout_s) as until_end:
            async for end, at, state in self._changes:
                record.states.append((at - dialled_at, end, state))
                if state in self._states.final:
                    record.reason = f"{end}: {self._states.final[state]}"
                    break
                if state == self._states.connected:
                    connected.add(end)
                if len(connected) == 2 and record.set_up_s is None:
                    record.set_up_s = at - dialled_at
                    until_end.deadline = at + self._duration_s + TAIL_S
                    record.heard_from_s = trio.current_time() - dialled_at
                    await begin()
        record.ended_s = trio.current_time() - dialled_at
        for host in self._hosts:
            host.let_end()
        if record.set_up_s is not None:
            record.outcome = "completed" if until_end.cancelled_caught else "dropped"
        elif until_end.cancelled_caught:
            record.reason = f"no connection within {timeout_s:g} s"

    async def end(self, ends: Sequence[End]) -> CallRecord:
        """Sign the ends off, derive the frames from the taps, and return the record."""
        for end in ends:
            assert end.signalling is not None
            await trio.aclose_forcefully(end.signalling)
        (caller_sent, caller_got), (callee_sent, callee_got) = (tap.close() for tap in self._taps)
        record = self.record
        if record.set_up_s is None:
            return record
        if self._messenger.peer_to_peer:
            self._note_path(caller_got)
        began_at = self._dialled_at + record.set_up_s
        ended_at = self._dialled_at + record.ended_s
        of_call = partial(
            rtp_frames.direction,
            unwrap=self._media_in,
            types=self._envelope.types,
            frame_s=self._messenger.codec.frame_ms / 1000,
            dialled_at=self._dialled_at,
            between=(began_at, min(began_at + self._duration_s, ended_at)),
        )
        record.up = of_call(caller_sent, callee_got)
        record.down = of_call(callee_sent, caller_got)
        self._note_encodings(record.up, callee_sent, caller_got)
        self._note_encodings(record.down, caller_sent, callee_got)
        if record.outcome == "dropped":
            heard = [at for way in (record.up, record.down) for _, at in way.received[-1:]]
            record.silent_s = record.ended_s - min(heard, default=record.set_up_s)
        return record

    def _media_in(self, packet: bytes) -> bytes:
        """Return the media packet in a datagram, or an empty one if there is none."""
        if self._envelope.is_bare(packet):
            return packet if packet[:1] and packet[0] >> 6 == _RTP_VERSION else b""
        return self._envelope.unwrap(packet)

    def _note_path(self, got: Sequence[Seen]) -> None:
        """Record by which way the last media packet came."""
        media = [seen for seen in got if self._media_in(seen.packet)]
        if media:
            way = "peer" if self._envelope.is_bare(media[-1].packet) else "relay"
            self.record.states.append((media[-1].at - self._dialled_at, "call", f"by {way}"))

    def _note_encodings(
        self, direction: DirectionRecord, sent: Sequence[Seen], got: Sequence[Seen]
    ) -> None:
        """Record how a direction's frames were encoded, as its receiver's reports imply."""
        codec, adaptation = self._messenger.codec, self._messenger.adaptation
        if adaptation is None:
            return
        loss = codec.expected_loss_percent
        sender = Sender(adaptation, adaptation.encodings(codec.bitrate_bps, loss, fec=codec.fec))
        reports = rtp_frames.receiver_reports(
            sent, got, unwrap=self._media_in, dialled_at=self._dialled_at
        )
        direction.variants += rtp_frames.variants(direction, reports, sender)


async def _lend_port(
    host: LabHost, channel: trio.abc.Channel[bytes], port: int, envelope: Envelope
) -> Address:
    """Open a UDP port on a node for an engine; a channel carries its datagrams to the relay.

    The port has the relay's own number, because some engines identify the relay by it.
    """
    local = await host.serve_udp(Address(host.address, port))
    sources: dict[bytes, Address] = {}

    async def carry() -> None:
        while True:
            datagram, source = await local.receive()
            sources[envelope.sender(datagram)] = source
            await channel.send(datagram)

    async def bring() -> None:
        async for datagram in channel:
            if (source := sources.get(envelope.receiver(datagram))) is not None:
                await local.send(datagram, source)

    async def run() -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(carry)
                nursery.start_soon(bring)
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the transport has failed, which the engine must notice by itself

    host.start_task(run)
    return local.address
