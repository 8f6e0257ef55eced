"""Conduct a WebRTC call between two unmodified Chromium browsers.

Each browser shows a page (`chromium_page`) that does what pages with calls do. It opens a peer
connection through a relay only (coturn). Offer, answer and trickled candidates travel over TLS
through the messenger's server. The page is driven over the DevTools protocol (`devtools`). The
microphone is Chromium's fake device with our speech, without audio processing; an audio worklet
keeps what is played as PCM.
"""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import trio

from testbed.experiment.cell import HEARD_FILES, SOUND_RATE_HZ
from testbed.lab.engines.chromium_page import PAGE
from testbed.lab.engines.coturn import TURN, TURNSERVER, USER, serve_coturn
from testbed.lab.engines.devtools import BrowserEnded, Page
from testbed.lab.engines.engine import LabEngine, Setting, Way
from testbed.lab.engines.real_call import ENDS, Change, RealCall, States, microphone
from testbed.lab.engines.signalling import message, receive, sign_in
from testbed.lab.nodes.host import LabHost
from testbed.lab.nodes.process import LabProcess
from testbed.lab.nodes.tls_streams import TlsStream
from testbed.record.observation import CallRecord
from testbed.transport.interface import Address, Program

CHROMIUM = Program("/usr/lib/chromium/chromium-headless-shell", apt="chromium-headless-shell")
"""Chromium without a user interface; by its full path, because /usr/bin has only a script."""
_PAGE_FILE = "call.html"
_STATES = States("connected", {"failed": "connection lost", "closed": "connection closed"})
"""The values of RTCPeerConnection.connectionState (W3C WebRTC, 4.3.3)."""
_OPTIONS = (
    "--no-sandbox --no-zygote --disable-gpu --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-extensions --disable-breakpad "
    "--disable-features=WebRtcHideLocalIpsWithMdns,AudioServiceOutOfProcess "
    "--autoplay-policy=no-user-gesture-required --disable-audio-output --remote-debugging-pipe "
    "--use-fake-device-for-media-stream --use-fake-ui-for-media-stream"
)
_DESCRIPTION, _CANDIDATE = b"D", b"C"


@dataclass(eq=False)
class _End:
    name: str
    host: LabHost
    page: Page
    heard: Path
    signalling: TlsStream | None = None

    async def do(self, function: str, *arguments: object) -> Any:  # noqa: ANN401 - JSON
        """Call a function of the page, and return what it returns."""
        return await self.page.evaluate(f"{function}({', '.join(map(json.dumps, arguments))})")

    async def signal(self, kind: bytes, content: object) -> None:
        """Send something to the other end."""
        assert self.signalling is not None
        with suppress(trio.BrokenResourceError):
            await self.signalling.send_all(message(kind, json.dumps(content).encode()))


class ChromiumEngine:
    """Two Chromiums, one on each end's node."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._messenger = setting.messenger
        self._password = setting.rng.randbytes(16).hex()
        self._ends: list[_End] = []
        self._no_signalling: CallRecord | None = None

    async def serve_relay(self, servers: LabHost, relay: Address) -> None:
        """Run coturn."""
        await serve_coturn(servers, relay, self._password)

    async def prepare(self, caller: LabHost, callee: LabHost) -> None:
        """Start the browsers, open their pages and sign in."""
        job = self._setting.job
        (job / _PAGE_FILE).write_text(PAGE)
        for (name, says, hears), host in zip(ENDS, (caller, callee), strict=True):
            page = Page(await self._start(host, microphone(job, says)))
            host.start_task(page.run)
            await page.open((job / _PAGE_FILE).as_uri())
            end = _End(name, host, page, job / HEARD_FILES[hears])
            await end.do("prepare", SOUND_RATE_HZ)
            self._ends.append(end)
        timeout_s = self._messenger.connect_timeout_s
        self._no_signalling = await sign_in(self._ends, self._setting.chat_server, job, timeout_s)

    async def _start(self, host: LabHost, said: Path) -> LabProcess:
        """Start a browser with its DevTools pipe on the process's standard input and output."""
        # The pipe is descriptors 3 (in) and 4 (out); the script maps them to 0 and 1.
        command = f"{CHROMIUM.path()} {_OPTIONS} --user-data-dir={shlex.quote(str(host.state_dir))}"
        command += f" --use-file-for-fake-audio-capture={shlex.quote(str(said))}"
        script = host.state_dir / "chromium"
        script.write_text(f"#!/bin/sh\nexec {command} 3<&0 4>&1 </dev/null >&2\n")
        script.chmod(0o755)
        return await host.start_process([str(script)])

    async def call(self, caller: Way, callee: Way, duration_s: float) -> CallRecord:
        """Dial now, talk for `duration_s` from the set-up, hang up."""
        if self._no_signalling is not None:
            return self._no_signalling
        call = RealCall(self._messenger, _STATES, TURN, duration_s)
        for end, way in zip(self._ends, (caller, callee), strict=True):
            relay, protocols = await call.reach(way, self._messenger.relay_protocols)
            urls = [f"turn:{relay}?transport={protocol}" for protocol in protocols]
            server = {"urls": urls, "username": USER, "credential": self._password}
            await end.do("dial", server, self._messenger.repair.nack)
        async with trio.open_nursery() as nursery:
            for end in self._ends:
                nursery.start_soon(_follow, end, call.told)
                nursery.start_soon(_obey, end)
            nursery.start_soon(_offer, self._ends[0])
            await call.talk(partial(_all, self._ends, "talk"), self._messenger.connect_timeout_s)
            nursery.cancel_scope.cancel()
        record = await call.end(self._ends)
        for end in self._ends:
            try:
                left = await end.do("hangUp")
            except BrowserEnded:
                continue  # what the browser counted and heard is lost with it
            record.reports[end.name] = left["reports"]
            if record.set_up_s is not None:
                end.heard.write_bytes(base64.b64decode(left["heard"]))
        return record


async def _all(ends: Sequence[_End], function: str) -> None:
    for end in ends:
        await end.do(function)


async def _offer(end: _End) -> None:
    await end.signal(_DESCRIPTION, await end.do("describe"))


async def _follow(end: _End, told: trio.MemorySendChannel[Change]) -> None:
    """Forward the candidates that a page finds, and report its connection's states."""
    async for line in end.page.told:
        kind, content = json.loads(line)
        if kind == "candidate":
            await end.signal(_CANDIDATE, content)
        else:
            told.send_nowait(Change(end.name, trio.current_time(), content))


async def _obey(end: _End) -> None:
    """Forward the other end's signalling to a page, and answer an offer."""
    assert end.signalling is not None
    with suppress(trio.BrokenResourceError):
        while True:
            kind, content = await receive(end.signalling)
            given = json.loads(content)
            if kind == _CANDIDATE:
                await end.do("addCandidate", given)
            elif given["type"] == "offer":
                await end.signal(_DESCRIPTION, await end.do("describe", given))
            else:
                await end.do("accept", given)


# It is not heard in time: it provides counters of its own.
ENGINE = LabEngine(
    make=ChromiumEngine,
    programs=(CHROMIUM, TURNSERVER),
    guest_mb=2048,
    is_slow=True,
    nack=True,
)
