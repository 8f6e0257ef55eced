"""Conduct a call between two processes of Telegram's real call engine, by the library ntgcalls.

Each end is a process (`ntgcalls_end`) that exchanges short messages with this one over its standard
input and output. Both ends sign in at the messenger's server before the call, and their signalling
goes there over TLS, like the chat. Dialling makes both connect at once, as they do after the callee
has accepted. Media goes through a reflector, Telegram's relay.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import trio

from testbed.call import reflector
from testbed.experiment.cell import HEARD_FILES, SAID_FILES
from testbed.lab.engines.engine import LabEngine, Setting, Way
from testbed.lab.engines.ntgcalls_end import PEER
from testbed.lab.engines.real_call import ENDS, Change, Envelope, RealCall, States
from testbed.lab.engines.signalling import message, receive, sign_in
from testbed.lab.nodes.host import LabHost
from testbed.lab.nodes.process import LabProcess
from testbed.lab.nodes.tls_streams import TlsStream
from testbed.lab.servers.telegram_reflector import serve_reflector
from testbed.record.observation import CallRecord
from testbed.transport.interface import Address, Process, Program
from testbed.transport.stun_server import serve_stun

NTGCALLS = Program("ntgcalls", pypi="ntgcalls", inside="ntgcalls.cpython-313-x86_64-linux-gnu.so")
"""An engine for Telegram's calls: the tgcalls protocol on libwebrtc (LGPL-3,
github.com/pytgcalls/ntgcalls), loaded unmodified by `testbed.lab.engines.ntgcalls_end`."""
_PROGRAM = Path(__file__).with_name("ntgcalls_end.py")
_KEY_BYTES = 256
_STATES = States(
    "CONNECTED",
    {"TIMEOUT": "no connection", "FAILED": "connection lost", "CLOSED": "connection closed"},
)
REFLECTED = Envelope(
    reflector.unwrap,
    reflector.take_packet,
    sender=reflector.own_tag,
    receiver=lambda packet: packet[: reflector.TAG_BYTES],
)
"""How a reflector carries media. An engine has its own socket and tag for each protocol."""


@dataclass(eq=False)
class _End:
    name: str
    host: LabHost
    process: LabProcess
    signalling: TlsStream | None = None

    async def tell(self, kind: bytes, content: bytes = b"") -> None:
        """Send a message to the engine's process (see `ntgcalls_end`)."""
        await self.process.stdin.send_all(message(kind, content))


class NtgcallsEngine:
    """Two processes of the real engine, one on each end's node."""

    def __init__(self, setting: Setting) -> None:
        self._messenger = setting.messenger
        self._key = setting.rng.randbytes(_KEY_BYTES)
        self._tag = setting.rng.randbytes(reflector.CALL_TAG_BYTES)
        self._chat_server = setting.chat_server
        self._job = setting.job
        self._envelope = REFLECTED
        if setting.messenger.peer_to_peer:
            self._envelope = replace(REFLECTED, is_bare=self._is_bare)
        self._ends: list[_End] = []
        self._no_signalling: CallRecord | None = None

    def _is_bare(self, packet: bytes) -> bool:
        """Return whether a packet came from the other end itself, without a reflector's tag."""
        return not packet.startswith(self._tag)

    async def serve_relay(self, servers: LabHost, relay: Address) -> None:
        """Run a reflector, and a STUN server if the ends try to reach each other."""
        await serve_reflector(servers, relay.port)
        if self._messenger.peer_to_peer:
            await serve_stun(servers)

    async def prepare(self, caller: LabHost, callee: LabHost) -> None:
        """Start the engine on both ends and sign in.

        Raises:
            TransportError: The library is not installed.
        """
        for (name, says, hears), host in zip(ENDS, (caller, callee), strict=True):
            sounds = (str(self._job / SAID_FILES[says]), str(self._job / HEARD_FILES[hears]))
            self._ends.append(_End(name, host, await self._start(name, host, sounds)))
        timeout_s = self._messenger.connect_timeout_s
        self._no_signalling = await sign_in(self._ends, self._chat_server, self._job, timeout_s)

    async def _start(self, name: str, host: LabHost, sounds: tuple[str, str]) -> LabProcess:
        tag = self._tag + bytes(4)  # the engine replaces the last 4 bytes with its own
        python = [sys.executable, "-I", "-S", "-B", str(_PROGRAM)]
        command = [*python, NTGCALLS.path(), name, self._key.hex(), tag.hex(), *sounds]
        process = await host.start_process(command, stop=_hang_up)
        kind, _ = await receive(process.stdout)
        assert kind == b"R", kind
        return process

    async def call(self, caller: Way, callee: Way, duration_s: float) -> CallRecord:
        """Dial now, talk for `duration_s` from the set-up, hang up."""
        if self._no_signalling is not None:
            return self._no_signalling
        call = RealCall(self._messenger, _STATES, self._envelope, duration_s)
        protocols: Sequence[str] = self._messenger.relay_protocols
        if self._messenger.peer_to_peer and caller.is_direct and callee.is_direct:
            protocols = (PEER, *protocols)
        relays = [await call.reach(way, protocols) for way in (caller, callee)]
        async with trio.open_nursery() as nursery:
            for end in self._ends:
                nursery.start_soon(_follow, end, call.told)
                nursery.start_soon(_bring_signalling, end)
            for end, (relay, by) in zip(self._ends, relays, strict=True):
                await end.tell(b"D", f"{relay.host} {relay.port} {' '.join(by)}".encode())
            await call.talk(self._hear)
            nursery.cancel_scope.cancel()
        return await call.end(self._ends)

    async def _hear(self) -> None:
        for end in self._ends:
            await end.tell(b"H")


async def _follow(end: _End, told: trio.MemorySendChannel[Change]) -> None:
    """Forward an engine's signalling, and report its connection's states."""
    assert end.signalling is not None
    while True:
        kind, content = await receive(end.process.stdout)
        if kind == b"S":
            with suppress(trio.BrokenResourceError):
                await end.signalling.send_all(message(kind, content))
        else:
            state, at = content.decode().split()
            told.send_nowait(Change(end.name, float(at), state))


async def _bring_signalling(end: _End) -> None:
    """Forward the other end's signalling to an engine."""
    assert end.signalling is not None
    with suppress(trio.BrokenResourceError):
        while True:
            await end.tell(*await receive(end.signalling))


async def _hang_up(process: Process) -> None:
    """Close a process's standard input: it then writes what was heard, and exits."""
    await process.stdin.aclose()


ENGINE = LabEngine(
    make=NtgcallsEngine, programs=(NTGCALLS,), is_heard_in_time=True, peer_to_peer=True
)
