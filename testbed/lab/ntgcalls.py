"""Conducts a call between two processes of Telegram's real engine; how it calls is its own affair.

Both ends are signed in at the messenger's server before the call: their signalling goes there as
TLS, like the chat. At dialling both are told to connect, as after the callee has accepted.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import NamedTuple

import trio

from testbed.call.messenger import Messenger
from testbed.cell import HEARD_FILES, SAID_FILES, TAIL_S
from testbed.lab import rtp
from testbed.lab.chat import connect_tls
from testbed.lab.engine import Way
from testbed.lab.host import LabHost, LabProcess
from testbed.lab.record import CallRecord
from testbed.lab.reflector import lend_port
from testbed.lab.servers import JOIN
from testbed.lab.tap import Tap
from testbed.lab.udp import UdpChannel
from testbed.ntgcalls import LIBRARY
from testbed.transport import Address, Process

_PROGRAM = Path(__file__).with_name("ntgcalls_end.py")
_KEY_BYTES, _CALL_TAG_BYTES = 256, 12
_FINAL = {"TIMEOUT": "no connection", "FAILED": "connection lost", "CLOSED": "connection closed"}
"""The states after which an engine does not come back."""


@dataclass(eq=False)
class _End:
    name: str
    host: LabHost
    process: LabProcess
    signalling: trio.SSLStream[trio.SocketStream] | None = None

    async def tell(self, kind: bytes, content: bytes = b"") -> None:
        """Send a message to the engine's program (see there)."""
        await self.process.stdin.send_all(_message(kind, content))


class _Change(NamedTuple):
    """An engine's connection came into a state."""

    end: _End
    at: float
    state: str


class NtgcallsEngine:
    """Two processes of the real engine, one on each end's node."""

    def __init__(self, messenger: Messenger, rng: Random, chat_server: Address, job: Path) -> None:
        self._messenger = messenger
        self._key, self._tag = rng.randbytes(_KEY_BYTES), rng.randbytes(_CALL_TAG_BYTES)
        self._chat_server = chat_server
        self._job = job
        self._ends: list[_End] = []
        self._no_signalling = CallRecord()

    async def prepare(self, caller: LabHost, callee: LabHost) -> None:
        """Start the engine on both ends and sign in. TransportError: the library is missing."""
        for name, host, says, hears in (
            ("caller", caller, "up", "down"),
            ("callee", callee, "down", "up"),
        ):
            sounds = (str(self._job / SAID_FILES[says]), str(self._job / HEARD_FILES[hears]))
            self._ends.append(_End(name, host, await self._start(name, host, sounds)))
        began_at = trio.current_time()
        reason = f"within {self._messenger.connect_timeout_s:g} s"
        with trio.move_on_after(self._messenger.connect_timeout_s):
            try:
                for end in self._ends:
                    end.signalling = await connect_tls(end.host, self._chat_server, self._job)
                    await end.signalling.send_all(JOIN)
                    await end.signalling.receive_some()
                reason = ""
            except (OSError, trio.BrokenResourceError) as error:
                reason = f": {error}"
        if reason:
            self._no_signalling.reason = f"no signalling {reason}"
            self._no_signalling.ended_s = trio.current_time() - began_at

    async def _start(self, name: str, host: LabHost, sounds: tuple[str, str]) -> LabProcess:
        tag = self._tag + bytes(4)  # an engine puts 4 bytes of its own in the end
        python = [sys.executable, "-I", "-S", "-B", str(_PROGRAM)]
        command = [*python, LIBRARY.path(), name, self._key.hex(), tag.hex(), *sounds]
        process = await host.start_process(command, stop=_hang_up)
        kind, _ = await _receive(process.stdout)
        assert kind == b"R", kind
        return process

    async def call(self, caller: Way, callee: Way, duration_s: float) -> CallRecord:
        """Dial now, talk for `duration_s` from the set-up, hang up."""
        if self._no_signalling.reason:
            return self._no_signalling
        record = CallRecord()
        dialled_at = trio.current_time()
        relays = [await self._relay(way) for way in (caller, callee)]
        taps = [end.host.watch(relay) for end, (relay, _) in zip(self._ends, relays, strict=True)]
        told, changes = trio.open_memory_channel[_Change](math.inf)
        async with trio.open_nursery() as nursery:
            for end in self._ends:
                nursery.start_soon(_follow, end, told)
                nursery.start_soon(_bring_signalling, end)
            for end, (relay, protocols) in zip(self._ends, relays, strict=True):
                await end.tell(b"D", f"{relay.host} {relay.port} {' '.join(protocols)}".encode())
            await self._talk(record, changes, dialled_at, duration_s)
            nursery.cancel_scope.cancel()
        for end in self._ends:
            assert end.signalling is not None
            await trio.aclose_forcefully(end.signalling)
        self._note_frames(record, taps, dialled_at, duration_s)
        return record

    async def _relay(self, way: Way) -> tuple[Address, Sequence[str]]:
        """Give where an end's relay is for its engine, and by what to reach it."""
        channel = way.channel
        is_direct = channel is None or (
            isinstance(channel, UdpChannel) and channel.remote == way.relay and not channel.tunnel
        )
        if channel is None or is_direct:
            return way.relay, self._messenger.relay_protocols
        return await lend_port(way.host, channel, way.relay.port), ("udp",)

    async def _talk(
        self,
        record: CallRecord,
        changes: trio.MemoryReceiveChannel[_Change],
        dialled_at: float,
        duration_s: float,
    ) -> None:
        """Wait for the set-up and for the end of the call."""
        connected: set[str] = set()
        with trio.CancelScope() as until_end:
            async for end, at, state in changes:
                record.states.append((at - dialled_at, end.name, state))
                if state in _FINAL:
                    record.reason = f"{end.name}: {_FINAL[state]}"
                    break
                if state == "CONNECTED":
                    connected.add(end.name)
                if len(connected) == len(self._ends) and record.set_up_s is None:
                    record.set_up_s = at - dialled_at
                    until_end.deadline = at + duration_s + TAIL_S
                    record.heard_from_s = trio.current_time() - dialled_at
                    for hearing in self._ends:
                        await hearing.tell(b"H")
        record.ended_s = trio.current_time() - dialled_at
        if record.set_up_s is not None:
            record.outcome = "completed" if until_end.cancelled_caught else "dropped"

    def _note_frames(
        self, record: CallRecord, taps: Sequence[Tap], dialled_at: float, duration_s: float
    ) -> None:
        (caller_sent, caller_got), (callee_sent, callee_got) = (tap.close() for tap in taps)
        if record.set_up_s is None:
            return
        began_at = dialled_at + record.set_up_s
        frame_s = self._messenger.codec.frame_ms / 1000
        of_call = partial(
            rtp.direction,
            frame_s=frame_s,
            dialled_at=dialled_at,
            between=(began_at, began_at + duration_s),
        )
        record.up = of_call(caller_sent, callee_got)
        record.down = of_call(callee_sent, caller_got)
        if record.outcome == "dropped":
            heard = [at for way in (record.up, record.down) for _, at in way.received[-1:]]
            record.silent_s = record.ended_s - min(heard, default=record.set_up_s)


async def _follow(end: _End, told: trio.MemorySendChannel[_Change]) -> None:
    """Send on what an engine signals, and tell of the states that it reports."""
    assert end.signalling is not None
    while True:
        kind, content = await _receive(end.process.stdout)
        if kind == b"S":
            with suppress(trio.BrokenResourceError):
                await end.signalling.send_all(_message(kind, content))
        else:
            state, at = content.decode().split()
            told.send_nowait(_Change(end, float(at), state))


async def _bring_signalling(end: _End) -> None:
    """Give an engine what the other one has signalled."""
    assert end.signalling is not None
    with suppress(trio.BrokenResourceError):
        while True:
            await end.tell(*await _receive(end.signalling))


def _message(kind: bytes, content: bytes) -> bytes:
    return kind + len(content).to_bytes(4, "big") + content


async def _receive(stream: trio.abc.ReceiveStream) -> tuple[bytes, bytes]:
    """Read one message."""
    head = await _exactly(stream, 5)
    return head[:1], await _exactly(stream, int.from_bytes(head[1:], "big"))


async def _exactly(stream: trio.abc.ReceiveStream, count: int) -> bytes:
    received = b""
    while len(received) < count:
        chunk = await stream.receive_some(count - len(received))
        if not chunk:
            await trio.sleep_forever()  # a program that has ended is for its host to report
        received += chunk
    return received


async def _hang_up(process: Process) -> None:
    """Let a program write down what was heard, and end."""
    await process.stdin.aclose()
