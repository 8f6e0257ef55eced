"""Conduct a WebRTC call between two processes of libwebrtc, without browsers, by the module wrtc.

Each end is a process (`libwebrtc_end`) that exchanges short messages with this one over its
standard input and output. It does what a page with a call does: a peer connection through a relay
only (coturn), and descriptions and candidates that travel over TLS through the messenger's server.
Its microphone has our speech, without audio processing, and what it plays is kept as PCM.

Each second an end reports its statistics. They are kept as a dump of webrtc-internals
(`internals_dump`), and the counters of what was played are in the call's record.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import trio

from testbed.experiment.cell import HEARD_FILES, SAID_FILES, STATISTICS_FILE
from testbed.lab.engines.coturn import TURN, TURNSERVER, USER, serve_coturn
from testbed.lab.engines.engine import LabEngine, Setting, Way
from testbed.lab.engines.internals_dump import Stats, counters_of, internals_dump
from testbed.lab.engines.real_call import ENDS, Change, RealCall, States
from testbed.lab.engines.rtp_frames import Types
from testbed.lab.engines.signalling import message, receive, sign_in
from testbed.lab.nodes.host import LabHost
from testbed.lab.nodes.process import LabProcess
from testbed.lab.nodes.tls_streams import TlsStream
from testbed.record.observation import CallRecord
from testbed.transport.interface import Address, Program

WRTC = Program("wrtc", pypi="wrtc", inside="wrtc.cpython-313-x86_64-linux-gnu.so")
"""libwebrtc M152 as an extension module of Python (BSD-3, github.com/MarshalX/python-webrtc),
loaded unmodified by `testbed.lab.engines.libwebrtc_end`."""
_PROGRAM = Path(__file__).with_name("libwebrtc_end.py")
_STATES = States("connected", {"failed": "connection lost", "closed": "connection closed"})
"""The values of RTCPeerConnection.connectionState (W3C WebRTC, 4.3.3)."""
_WITH_RED = replace(TURN, types=Types(111, redundant=63))
"""With the RTP payload type of redundant sound (RFC 2198) in libwebrtc's offers."""


@dataclass(eq=False)
class _End:
    name: str
    host: LabHost
    process: LabProcess
    signalling: TlsStream | None = None
    stats: list[list[Stats]] = field(default_factory=list)
    has_ended: trio.Event = field(default_factory=trio.Event)

    async def tell(self, kind: bytes, content: bytes = b"") -> None:
        """Send a message to the engine's process (see `libwebrtc_end`)."""
        await self.process.stdin.send_all(message(kind, content))


class LibwebrtcEngine:
    """Two processes of libwebrtc, one on each end's node."""

    def __init__(self, setting: Setting) -> None:
        self._messenger = setting.messenger
        self._password = setting.rng.randbytes(16).hex()
        self._chat_server = setting.chat_server
        self._job = setting.job
        self._ends: list[_End] = []
        self._no_signalling: CallRecord | None = None

    async def serve_relay(self, servers: LabHost, relay: Address) -> None:
        """Run coturn."""
        await serve_coturn(servers, relay, self._password)

    async def prepare(self, caller: LabHost, callee: LabHost) -> None:
        """Start the engine on both ends and sign in.

        Raises:
            TransportError: The module is not in the lab image.
        """
        for (name, says, hears), host in zip(ENDS, (caller, callee), strict=True):
            sounds = (str(self._job / SAID_FILES[says]), str(self._job / HEARD_FILES[hears]))
            python = [sys.executable, "-I", "-S", "-B", str(_PROGRAM)]
            process = await host.start_process([*python, WRTC.path(), name, *sounds])
            kind, _ = await receive(process.stdout)
            assert kind == b"R", kind
            self._ends.append(_End(name, host, process))
        timeout_s = self._messenger.connect_timeout_s
        self._no_signalling = await sign_in(self._ends, self._chat_server, self._job, timeout_s)

    async def call(self, caller: Way, callee: Way, duration_s: float) -> CallRecord:
        """Dial now, talk for `duration_s` from the set-up, hang up."""
        if self._no_signalling is not None:
            return self._no_signalling
        repair = self._messenger.repair
        envelope = _WITH_RED if repair.red else TURN
        call = RealCall(self._messenger, _STATES, envelope, duration_s)
        for end, way in zip(self._ends, (caller, callee), strict=True):
            relay, protocols = await call.reach(way, self._messenger.relay_protocols)
            urls = [f"turn:{relay}?transport={protocol}" for protocol in protocols]
            server = {"urls": urls, "username": USER, "credential": self._password}
            wanted = {"nack": repair.nack, "red": repair.red, "fec": self._messenger.codec.fec}
            await end.tell(b"D", json.dumps({"servers": [server], **wanted}).encode())
        async with trio.open_nursery() as nursery:
            for end in self._ends:
                nursery.start_soon(_follow, end, call.told)
                nursery.start_soon(_bring_signalling, end)
            await self._ends[0].tell(b"O")
            await call.talk(self._talk, self._messenger.connect_timeout_s)
            for end in self._ends:
                end.host.let_end()
                await end.process.stdin.aclose()
            for end in self._ends:
                await end.has_ended.wait()
            nursery.cancel_scope.cancel()
        record = await call.end(self._ends)
        for end in self._ends:
            record.reports[end.name] = [counters_of(report) for report in end.stats]
            dump = internals_dump(end.name, end.stats)
            (end.host.state_dir / STATISTICS_FILE).write_text(dump)
        return record

    async def _talk(self) -> None:
        for end in self._ends:
            await end.tell(b"H")


async def _follow(end: _End, told: trio.MemorySendChannel[Change]) -> None:
    """Forward an engine's signalling, note its reports, and report its connection's states."""
    assert end.signalling is not None
    while True:
        kind, content = await receive(end.process.stdout)
        match kind:
            case b"S":
                with suppress(trio.BrokenResourceError):
                    await end.signalling.send_all(message(kind, content))
            case b"T":
                end.stats.append(json.loads(content))
            case b"C":
                state, at = content.decode().split()
                told.send_nowait(Change(end.name, float(at), state))
            case _:
                end.has_ended.set()


async def _bring_signalling(end: _End) -> None:
    """Forward the other end's signalling to an engine."""
    assert end.signalling is not None
    with suppress(trio.BrokenResourceError):
        while True:
            await end.tell(*await receive(end.signalling))


# As Chromium, it provides counters of its own, and its frames are too short to be recognised.
ENGINE = LabEngine(
    make=LibwebrtcEngine, programs=(WRTC, TURNSERVER), guest_mb=512, nack=True, red=True
)
