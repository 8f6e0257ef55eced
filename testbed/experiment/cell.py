"""Define a cell of a scenario, which is one call, and the job that the lab runs for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from testbed.call.messenger import Messenger
from testbed.censor import local_time as time_of_day
from testbed.censor.stack import AnyCensor
from testbed.experiment.link import Links
from testbed.experiment.netplan import NetworkPlan

THROUGH = "through"
"""The parameter that any transport has: what carries it (`testbed.transport.carried`)."""


@dataclass(frozen=True)
class TransportChoice:
    """A transport's module name and its parameters."""

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """The parameters; a transport that it wraps, or that carries it, is a `TransportChoice` itself.
    """
    source: str = ""
    """The text of its file, if that is not in `transports/`."""
    title: str = ""
    """Its name in the scenario, if the scenario gave it one."""

    def __str__(self) -> str:
        from testbed.experiment.names import Name  # noqa: PLC0415 - costs a guest, which needs none

        if self.title:
            return self.title
        plain = {
            key: str(value) if isinstance(value, TransportChoice) else value
            for key, value in self.parameters.items()
            if key != THROUGH
        }
        carrier = self.parameters.get(THROUGH)
        own = str(Name(self.name, plain))
        return own if carrier is None else f"{own} {THROUGH} {carrier}"


Said = Literal["speech", "symbols"]
"""What the ends of a call say: real speech in turns (`testbed.call.conversation`), or a measuring
signal from both ends all the time (`testbed.audio.symbols`)."""


Topology = Literal["one-sided", "both-sides", "domestic-bridge"]
"""Where the ends are: the caller inside the country and the callee abroad, or both inside, each
behind its own middlebox. `domestic-bridge` is one-sided, but the bridge is inside and has a way
abroad of its own (`testbed.lab.net.topology`)."""


OtherTraffic = Literal["voice message", "web page", "download"]
"""Other traffic during a call, besides its chat, which a transport should not harm, either."""


@dataclass(frozen=True)
class Exchange:
    """The exchange of one kind of other traffic over one TLS connection."""

    by: Literal["messenger", "web"]
    """The server: the messenger's chat server, or another one abroad."""
    begins: float
    """When it begins, as a share of the call's length."""
    objects: tuple[tuple[int, int], ...]
    """The objects, one after another: bytes up, then bytes down."""


TRAFFIC: Mapping[OtherTraffic, Exchange] = {
    "voice message": Exchange("messenger", 0.1, ((60_000, 200),)),
    "web page": Exchange(
        "web", 0.35, ((500, 40_000), *((500, size) for size in (30_000, 20_000, 15_000, 10_000)))
    ),
    "download": Exchange("web", 0.6, ((500, 1_000_000),)),
}
"""Sizes are assumed: a voice message of 20 s at 24 kbit/s; a small page with four objects; 1 MB."""


@dataclass(frozen=True)
class Cell:
    """One call: messenger x transport x censor x links x topology x seed."""

    messenger: Messenger
    transport: TransportChoice
    censor: AnyCensor
    links: Links
    seed: int
    duration_s: float
    """The length of the call from its set-up to hanging up."""
    said: Said = "speech"
    topology: Topology = "one-sided"
    compares_topologies: bool = False
    """Whether its scenario has several topologies, so that its name must include this one."""
    other_traffic: tuple[OtherTraffic, ...] = ()
    """The other traffic during the call, besides its chat."""
    speech: str = ""
    """A sound file with the speech; empty: the default speech (`testbed.audio.speech`)."""
    local_time: str = time_of_day.DEFAULT
    """The time of day inside the country at the beginning. If the censor depends on it, the
    profile's name includes it."""


JOB_FILE = "job.pickle"
"""In a job's folder: a pickled `Job`."""
CERTIFICATE_FILE, KEY_FILE = "server.pem", "server.key"
"""In a job's folder: the chat server's self-signed certificate and its key."""
CHAT_SERVER_NAME = "chat.messenger.example"
"""The name in the chat server's certificate and in the client's SNI."""
BRIDGE_CERTIFICATE_FILE, BRIDGE_KEY_FILE = "bridge.pem", "bridge.key"
"""In a job's folder: the certificate for transports, issued by the chat server's, and its key."""
BRIDGE_NAME = "www.bridge.example"
"""The name in the bridge's certificate and in its clients' SNI."""
RECORD_FILE, FRAMES_FILE, EVENTS_FILE = "record.json", "frames.csv", "events.log"
"""The files that a finished cell leaves in its job's folder."""
STATISTICS_FILE = "webrtc-internals.json"
"""In the folder of an end's node: the statistics of its WebRTC, as a dump of webrtc-internals."""
SAID_FILES = {"up": "said-up.pcm", "down": "said-down.pcm"}
"""By direction, in the folder of a job with a real engine: the microphone's input (up: the
caller's), 16-bit mono at `SOUND_RATE_HZ`."""
HEARD_FILES = {"up": "heard-up.pcm", "down": "heard-down.pcm"}
"""By direction: the sound that the far end of a real engine's call played, in the same format."""
SOUND_RATE_HZ = 16000
TAIL_S = 2.0
"""How long the ends of a call still listen after the last frame."""
CaptureAt = Literal["middlebox", "ends"]
"""Where packets are captured: on both sides of each middlebox, or at the callers' own interfaces.
"""
ERROR_FILE = "error.txt"
"""The file that a failed cell leaves in its job's folder."""
LACKS_FILE = "lacks.json"
"""The file in which `testbed.lab.preflight` lists what a host's kernel lacks."""


@dataclass(frozen=True)
class Job:
    """The input of the program that runs a cell."""

    cell: Cell
    network: NetworkPlan
    frames: Mapping[str, Sequence[Sequence[bytes]]]
    """By direction: the speech in each encoding that the sender may choose
    (`testbed.call.adaptation`); empty for a real engine."""
    pcap: CaptureAt | None = None
    """Where to capture packets. The extra work shifts the cell's times a little."""
