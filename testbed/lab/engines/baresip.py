"""Conduct a SIP call between two unmodified baresip processes.

    baresip --TCP-- this process --TLS-- messenger's server --TLS-- this process --TCP-- baresip
    baresip --SRTP-- latching relay --SRTP-- baresip

SIP travels over TLS through the messenger's server. On arrival the relay's address replaces the
one in the session description (`call.sip`), as a provider's session border controller does. Media
is SRTP, keyed by SDES (RFC 4568), through a relay that learns each end's address from its first
packet (latching). What an end heard is what its baresip decoded.
"""

from __future__ import annotations

import json
import wave
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypedDict

import trio

from testbed.call.sip import Latch, take_message, with_relay
from testbed.experiment.cell import HEARD_FILES, SOUND_RATE_HZ
from testbed.lab.engines.engine import LabEngine, Setting, Way
from testbed.lab.engines.real_call import ENDS, Change, Envelope, RealCall, States, microphone
from testbed.lab.engines.rtp_frames import Types
from testbed.lab.engines.signalling import sign_in
from testbed.lab.nodes.host import LabHost
from testbed.lab.nodes.tls_streams import TlsStream
from testbed.lab.servers.messenger_servers import run_relay
from testbed.record.observation import CallRecord
from testbed.transport.interface import Address, Program

BARESIP = Program("baresip", apt="baresip-core")
_STATES = States("CALL_RTPESTAB", {"CALL_CLOSED": "call closed"})
"""A call is connected once both ends receive media; SIP's own "established" does not need media."""
_RTP = Envelope(bytes, lambda _: None, types=Types(96))
_NOTED = ("CALL_RINGING", "CALL_ESTABLISHED", "CALL_RTPESTAB", "CALL_CLOSED")
_LOCAL, _PORTS, _CONTROL_PORT = "127.0.0.1", {"caller": 5070, "callee": 5060}, 4444
"""Each end's baresip listens on its own port, and reaches the other end at the other's port."""
# Without tones: baresip 1.1.0 reads an unset sample format when it plays one, and dies.
_CONFIG = """\
poll_method epoll
sip_listen {local}:{port}
audio_source aufile,{said}
ring_aufile none
ringback_aufile none
callwaiting_aufile none
busy_aufile none
notfound_aufile none
error_aufile none
message_aufile none
sip_autoanswer_aufile none
rtcp_mux yes
module_path /usr/lib/baresip/modules
module opus.so
module sndfile.so
module aufile.so
module srtp.so
module_tmp uuid.so
module_tmp account.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen {local}:{control}
statmode_default off
opus_application voip
opus_stereo no
opus_sprop_stereo no
opus_samplerate {rate}
opus_bitrate {bitrate}
opus_inbandfec {fec}
opus_packet_loss {loss}
rtp_timeout {silence}
snd_path {folder}
"""
"""All other settings are baresip's defaults, such as its jitter buffer of 5 to 10 frames."""
_ACCOUNT = (
    "<sip:{name}@{local}:{port};transport=tcp>;regint=0;answermode=auto;"
    "mediaenc=srtp-mand;ptime={frame_ms}\n"
)


@dataclass(eq=False)
class BaresipEnd:
    """One end's baresip."""

    name: str
    host: LabHost
    folder: Path
    control: trio.abc.Stream
    heard: Path
    signalling: TlsStream | None = None
    hanging_up: bool = False
    hung_up: trio.Event = field(default_factory=trio.Event)

    async def command(self, name: str, parameters: str = "") -> None:
        """Send baresip a command through its module ctrl_tcp (JSON in netstrings)."""
        text = json.dumps({"command": name, "params": parameters})
        await self.control.send_all(f"{len(text)}:{text},".encode())


class BaresipEngine:
    """Two baresips, one on each end's node."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._messenger = setting.messenger
        self._ends: list[BaresipEnd] = []
        self._no_signalling: CallRecord | None = None

    async def serve_relay(self, servers: LabHost, relay: Address) -> None:
        """Run a latching relay."""
        servers.start_task(partial(run_relay, servers, relay.port, Latch()))

    async def prepare(self, caller: LabHost, callee: LabHost) -> None:
        """Start baresip on both ends and sign in.

        Raises:
            TransportError: A baresip does not start.
        """
        job, timeout_s = self._setting.job, self._messenger.connect_timeout_s
        for (name, says, hears), host in zip(ENDS, (caller, callee), strict=True):
            said = microphone(job, says, silence_s=timeout_s)
            control = await self._start(name, host, said)
            self._ends.append(
                BaresipEnd(name, host, host.state_dir, control, job / HEARD_FILES[hears])
            )
        self._no_signalling = await sign_in(self._ends, self._setting.chat_server, job, timeout_s)

    async def _start(self, name: str, host: LabHost, said: Path) -> trio.SocketStream:
        """Start a baresip and return the connection that controls it."""
        codec, folder = self._messenger.codec, host.state_dir
        port = _PORTS[name]
        config = _CONFIG.format(
            local=_LOCAL,
            port=port,
            said=said,
            control=_CONTROL_PORT,
            rate=SOUND_RATE_HZ,
            bitrate=codec.bitrate_bps,
            fec="yes" if codec.fec else "no",
            loss=codec.expected_loss_percent,
            silence=round(self._messenger.silence_timeout_s),
            folder=folder,
        )
        account = _ACCOUNT.format(name=name, local=_LOCAL, port=port, frame_ms=codec.frame_ms)
        for file, text in (("config", config), ("accounts", account), ("contacts", "")):
            (folder / file).write_text(text)
        # Without a terminal its output would be buffered until it exits, and never look ready.
        command = ["stdbuf", "-oL", BARESIP.path(), "-f", str(folder)]
        await host.start_process(command, ready="baresip is ready.")
        return await host.open_tcp(Address(_LOCAL, _CONTROL_PORT))

    async def call(self, caller: Way, callee: Way, duration_s: float) -> CallRecord:
        """Dial now, talk for `duration_s` from the set-up, hang up."""
        if self._no_signalling is not None:
            return self._no_signalling
        call = RealCall(self._messenger, _STATES, _RTP, duration_s)
        async with trio.open_nursery() as nursery:
            for end, way in zip(self._ends, (caller, callee), strict=True):
                relay, _ = await call.reach(way, self._messenger.relay_protocols)
                nursery.start_soon(follow, end, call.told)
                await _join(end, relay)
            target = f"sip:callee@{_LOCAL}:{_PORTS['callee']};transport=tcp"
            await self._ends[0].command("dial", target)
            await call.talk(trio.lowlevel.checkpoint, self._messenger.connect_timeout_s)
            await hang_up(self._ends)
            nursery.cancel_scope.cancel()
        for end in self._ends:
            _keep_heard(end)
        return await call.end(self._ends)


async def hang_up(ends: Sequence[BaresipEnd]) -> None:
    """Hang up at both ends, and wait until each has written all that it heard to disk.

    An end whose process has exited counts as hung up.
    """
    for end in ends:
        end.hanging_up = True
        with suppress(trio.BrokenResourceError):
            await end.command("hangup")
    for end in ends:
        await end.hung_up.wait()


async def follow(end: BaresipEnd, told: trio.MemorySendChannel[Change]) -> None:
    """Report the events of an end's call, and note when its hang-up command is answered."""
    unparsed = bytearray()
    with suppress(trio.BrokenResourceError):
        async for chunk in end.control:
            unparsed += chunk
            while (event := _take_event(unparsed)) is not None:
                kind = event.get("type", "")
                if kind in _NOTED:
                    told.send_nowait(Change(end.name, trio.current_time(), kind))
                elif "response" in event and end.hanging_up:
                    end.hung_up.set()
    end.hung_up.set()  # the connection is closed: no answer will come


class _Event(TypedDict, total=False):
    """The fields that are read of an event or of a command's response."""

    type: str
    response: bool


def _take_event(unparsed: bytearray) -> _Event | None:
    """Remove and return the first JSON netstring of a buffer, or None if it is incomplete."""
    length, colon, rest = unparsed.partition(b":")
    if not colon or len(rest) <= int(length):
        return None
    # A netstring is `LENGTH:CONTENT,`; the last 1 below is the comma.
    text = bytes(rest[: int(length)])
    del unparsed[: len(length) + 1 + int(length) + 1]
    event: _Event = json.loads(text)
    return event


async def _join(end: BaresipEnd, relay: Address) -> None:
    """Connect an end's baresip to the other end's SIP, with `relay` in what it receives.

    The caller's baresip connects to this process; this process connects to the callee's baresip.
    """
    assert end.signalling is not None
    serve = partial(_exchange, end.signalling, relay)
    if end.name == "caller":
        await end.host.serve_tcp(_PORTS["callee"], serve, at=_LOCAL)
    else:
        local = await end.host.open_tcp(Address(_LOCAL, _PORTS["callee"]))
        end.host.start_task(partial(serve, local))


async def _exchange(signalling: TlsStream, relay: Address, local: trio.SocketStream) -> None:
    """Forward SIP between the messenger's server and a baresip until either connection breaks."""
    try:
        async with local, trio.open_nursery() as nursery:
            nursery.start_soon(_bring, signalling, relay, local)
            nursery.start_soon(_carry, local, signalling)
    except* (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # the call is over, or its signalling was cut


async def _bring(signalling: TlsStream, relay: Address, local: trio.SocketStream) -> None:
    """Forward the other end's messages to a baresip, with `relay` in them."""
    unparsed = bytearray()
    async for chunk in signalling:
        unparsed += chunk
        while (message := take_message(unparsed)) is not None:
            await local.send_all(with_relay(message, relay))


async def _carry(local: trio.SocketStream, signalling: TlsStream) -> None:
    """Forward what a baresip sends to the messenger's server, unchanged."""
    async for chunk in local:
        await signalling.send_all(chunk)


def _keep_heard(end: BaresipEnd) -> None:
    """Keep what an end's baresip has decoded, if anything, as raw 16-bit mono."""
    for path in end.folder.glob("dump-*-dec.wav"):
        with wave.open(str(path)) as file:
            form = (file.getnchannels(), file.getsampwidth(), file.getframerate())
            assert form == (1, 2, SOUND_RATE_HZ), f"{path}: {form}"
            end.heard.write_bytes(file.readframes(file.getnframes()))


# It records only what it decoded, and omits the time in which it decoded nothing.
ENGINE = LabEngine(make=BaresipEngine, programs=(BARESIP,), relay_protocols=("udp",))
