"""Run one end of a WebRTC call with libwebrtc, as a program of its own.

The program runs in its node's network namespace. It exchanges messages with the lab on its standard
input and output, each a letter, a length (4 bytes, big-endian) and content:

    in   D  dial: the settings of the connection, in JSON
         O  make an offer
         S  the other end's signalling
         H  talk, and keep what is heard from now on
    out  R  ready to dial
         S  signalling for the other end: a description or a candidate, in JSON
         C  `STATE TIME`: the connection entered a state at a time (s, CLOCK_MONOTONIC)
         T  the connection's statistics, in JSON, once a second while the end talks
         E  what was heard has been written; follows the end of the input

The library is the extension module of PyPI's `wrtc`. Its package `webrtc` around that has the
interface of browsers, but imports asyncio and needs twice the time for a call, so this program
reads the module's mailbox itself: calls are answered there by their token, and events arrive there.
The module looks up its enumerations and errors in that package, for which there are stand-ins.
"""

from __future__ import annotations

import json
import os
import sys
from array import array
from collections import deque
from select import select
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType
    from typing import Protocol, TypedDict

    class Server(TypedDict):
        """A TURN server."""

        urls: Sequence[str]
        username: str
        credential: str

    class Settings(TypedDict):
        """The settings of a connection."""

        servers: Sequence[Server]
        nack: bool
        red: bool
        fec: bool

    class Signal(TypedDict, total=False):
        """What one end tells the other: a description or a candidate."""

        type: str
        sdp: str
        candidate: str
        mid: str
        index: int
        fragment: str

    class Candidate(TypedDict):
        """A candidate of the library."""

        candidate: str
        sdp_mid: str
        sdp_m_line_index: int
        username_fragment: str

    class Described(Protocol):
        """A description of the library."""

        type: object
        sdp: str


FREE_COMM = "testbed-lab"
"""The process name whose work takes no virtual time; the same as in `testbed.guest.boot`."""
RATE_HZ = 16000
"""The sampling rate of what is said and heard, in 16-bit mono."""
DECIMATION = 3
"""The module plays at 48 kHz. What was said has nothing above 8 kHz, so that every third sample has
all of what is heard."""
WRITE_S = 0.02
"""How often speech is written (s): the length of a frame of Opus, which libwebrtc sends when the
last of its samples is there."""
REPORT_S = 1.0
"""How often statistics are reported (s), as webrtc-internals does."""
CHUNKS = 100
"""How many chunks of 10 ms wait to be read at most; they are read every WRITE_S."""
FEC, NO_FEC = "useinbandfec=1", "useinbandfec=0"
RED = "audio/red"


def stand_in_for_package() -> None:
    """Stand in for the package whose enumerations and errors the module looks up by name.

    A member of an enumeration is its text. An error is what Python raises by default.
    """
    package, enums, errors = (type(sys)(name) for name in NAMES)
    vars(package)["__path__"] = []
    vars(enums)["__getattr__"] = lambda _name: str
    vars(errors)["__getattr__"] = lambda _name: RuntimeError
    sys.modules.update(zip(NAMES, (package, enums, errors), strict=True))


NAMES = ("webrtc", "webrtc.enums", "webrtc.exceptions")


def be_called(name: str) -> None:
    """Set this process's name, which threads started afterwards inherit."""
    with open("/proc/self/comm", "w") as file:  # noqa: PTH123 - pathlib is not loaded
        file.write(name)


def tell(kind: bytes, content: bytes = b"") -> None:
    """Send a message to the lab."""
    os.write(1, kind + len(content).to_bytes(4, "big") + content)


def signal(content: Signal) -> None:
    """Send something to the other end."""
    tell(b"S", json.dumps(content).encode())


class Talk:
    """What one end says and hears from the moment at which both are connected."""

    def __init__(
        self,
        said: bytes,
        write: Callable[[bytes, int, int, int], object],
        read: Callable[[], tuple[bytes, int, int] | None],
    ) -> None:
        self.next_at = monotonic()
        self._said = memoryview(said)
        self._at = 0
        self._write = write
        self._read = read
        self._heard: list[bytes] = []

    def step(self) -> None:
        """Say the next frame, and keep what was played since the last one."""
        samples = round(WRITE_S * RATE_HZ)
        frame = bytes(self._said[self._at : self._at + 2 * samples])
        self._at += 2 * samples
        self._write(frame.ljust(2 * samples, b"\0"), RATE_HZ, 1, samples)
        self.next_at += WRITE_S
        while (chunk := self._read()) is not None:
            self._heard.append(array("h", chunk[0])[::DECIMATION].tobytes())

    def keep(self, path: str) -> None:
        """Write what was heard to a file."""
        with open(path, "wb") as file:  # noqa: PTH123 - pathlib is not loaded
            file.writelines(self._heard)


class End:
    """One end of a call by the library; `wrtc` is its module."""

    def __init__(self, wrtc: ModuleType, said: bytes) -> None:
        self.talk: Talk | None = None
        self.mailbox = wrtc.Mailbox()
        self.wake = self.mailbox.enableWake()
        self._wrtc = wrtc
        self._said = said
        self._microphone = wrtc.TrackGenerator("audio")
        self._waiting: dict[int, Callable[[object], object]] = {}
        self._token = 0
        self._early: deque[Signal] = deque()
        self._is_described = False
        self._report_at = 0.0

    def dial(self, settings: Settings) -> None:
        """Make the connection."""
        self._settings = settings
        made = self._wrtc.ConfigurationInit()
        made.iceTransportPolicy = "relay"
        made.iceServers = [self._server(each) for each in settings["servers"]]
        self.connection = self._wrtc.RTCPeerConnection(made)
        self.connection._bind(self.mailbox)
        self.connection.addTrack(self._microphone.track, None)
        if settings["red"]:
            codecs = self._wrtc.RTCRtpSender.getCapabilities("audio").codecs
            codecs.sort(key=lambda codec: codec.mimeType != RED)
            self.connection.getTransceivers()[0].setCodecPreferences(codecs)

    def _server(self, given: Server) -> object:
        server = self._wrtc.IceServerInit()
        server.urls = given["urls"]
        server.username, server.credential = given["username"], given["credential"]
        return server

    def offer(self) -> None:
        """Begin the exchange of descriptions."""
        self._call(self.connection.createOffer, False, then=self._describe)

    def take(self, given: Signal) -> None:
        """Take a description or a candidate of the other end."""
        kind = given["type"]
        if kind == "candidate":
            self._early.append(given)
            self._add_candidates()
            return
        described = self._wrtc.RTCSessionDescriptionInit(kind, given["sdp"])
        self._call(self.connection.setRemoteDescription, described, then=lambda _: self._on(kind))

    def _on(self, kind: str) -> None:
        self._is_described = True
        self._add_candidates()
        if kind == "offer":
            self._call(self.connection.createAnswer, then=self._describe)

    def _add_candidates(self) -> None:
        """Add what candidates there are; none can be added before the other end's description."""
        while self._is_described and self._early:
            one = self._early.popleft()
            place = (one["candidate"], one["mid"], one["index"], one["fragment"])
            self._call(self.connection.addIceCandidate, *place)

    def _describe(self, made: Described) -> None:
        """Set this end's description as it was made, and send it to the other end."""
        sdp, kind = made.sdp, str(made.type)
        if self._settings["nack"]:
            [opus] = [line for line in sdp.splitlines() if line.endswith(" opus/48000/2")]
            number = opus.partition(":")[2].partition(" ")[0]
            sdp = sdp.replace(opus, f"{opus}\r\na=rtcp-fb:{number} nack")
        # A sender goes by what the other end has described.
        sent = sdp if self._settings["fec"] else sdp.replace(FEC, NO_FEC)
        described = self._wrtc.RTCSessionDescriptionInit(kind, sdp)
        self._call(
            self.connection.setLocalDescription,
            described,
            then=lambda _: signal({"type": kind, "sdp": sent}),
        )

    def begin_to_talk(self) -> None:
        """Open the microphone, and keep what is heard from now on."""
        track = self.connection.getReceivers()[0].track
        ear = self._wrtc.MediaStreamTrackProcessor(track, CHUNKS)
        self.talk = Talk(self._said, self._microphone.writeAudio, ear.read)
        self._report_at = self.talk.next_at

    def step(self) -> None:
        """Do what is to be done at this time while the end talks."""
        assert self.talk is not None
        self.talk.step()
        if self.talk.next_at > self._report_at:
            self._report_at += REPORT_S
            self.report()

    def report(self) -> None:
        """Report the connection's statistics."""
        self._call(self.connection.getStats, then=lambda text: tell(b"T", str(text).encode()))

    def _call(
        self,
        method: Callable[..., None],
        *arguments: object,
        then: Callable[..., object] = lambda _: None,
    ) -> None:
        """Call a method that answers by the mailbox; its answer is given to `then`."""
        self._token += 1
        self._waiting[self._token] = then
        method(self.mailbox, self._token, *arguments)

    def read_mailbox(self) -> None:
        """Handle the answers and events that have arrived."""
        self.mailbox.ackWake()
        while (record := self.mailbox.take()) is not None:
            event, token, has_failed, arguments = record
            if has_failed:
                raise RuntimeError(str(arguments))
            if event is None:
                self._waiting.pop(token)(arguments[0] if arguments else None)
            elif event == "icecandidate":
                self._on_candidate(arguments[1].kwargs())
            elif event == "_transportstatechange" and arguments[5] is not None:
                tell(b"C", f"{arguments[5]} {monotonic():.9f}".encode())

    @staticmethod
    def _on_candidate(found: Candidate) -> None:
        if found["candidate"]:
            signal(
                {
                    "type": "candidate",
                    "candidate": found["candidate"],
                    "mid": found["sdp_mid"],
                    "index": found["sdp_m_line_index"],
                    "fragment": found["username_fragment"],
                }
            )

    def is_told(self, kind: bytes, content: bytes) -> None:
        """Do what a message of the lab says."""
        if kind == b"D":
            self.dial(json.loads(content))
        elif kind == b"O":
            self.offer()
        elif kind == b"S":
            self.take(json.loads(content))
        elif kind == b"H":
            self.begin_to_talk()


def messages(unparsed: bytearray) -> list[tuple[bytes, bytes]]:
    """Remove and return the complete messages of a buffer."""
    found = []
    while len(unparsed) >= 5:
        end = 5 + int.from_bytes(unparsed[1:5], "big")
        if len(unparsed) < end:
            break
        found.append((bytes(unparsed[:1]), bytes(unparsed[5:end])))
        del unparsed[:end]
    return found


def serve(end: End) -> None:
    """Do what the lab says until the input ends."""
    unparsed = bytearray()
    while True:
        left_s = max(end.talk.next_at - monotonic(), 0.0) if end.talk else None
        ready, _, _ = select([0, end.wake], [], [], left_s)
        if end.talk and end.talk.next_at <= monotonic():
            end.step()
        if end.wake in ready:
            end.read_mailbox()
        if 0 in ready:
            if not (chunk := os.read(0, 65536)):
                return
            unparsed += chunk
            for kind, content in messages(unparsed):
                end.is_told(kind, content)


def main(library: str, role: str, said: str, heard: str) -> None:
    """Serve one call.

    Everything before the engine is the lab's own code, so it runs under a name for which no virtual
    time passes.
    """
    be_called(FREE_COMM)
    stand_in_for_package()
    sys.path.insert(0, os.path.dirname(library))  # noqa: PTH120
    import wrtc  # noqa: PLC0415 - only after the package has been replaced

    with open(said, "rb") as file:  # noqa: PTH123 - pathlib is not loaded
        speech = file.read()
    be_called(role)
    end = End(wrtc, speech)
    tell(b"R")
    serve(end)
    if end.talk is not None:
        end.talk.keep(heard)
    tell(b"E")
    os._exit(0)  # the library's threads end with the process


if __name__ == "__main__":
    main(*sys.argv[1:])
