"""Describe a messenger's calls and chat as data, as read from its TOML file.

The exchanges of a messenger are code, in `dialects`; its numbers are here, each with its evidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Literal

from testbed.call.adaptation import Adaptation
from testbed.call.dialects import DIALECTS, RelayProtocol
from testbed.call.engines import ENGINES
from testbed.evidence import Evidence, check_reviewed

_FORBID_UNKNOWN_KEYS = {"extra": "forbid"}
_KEYS_WITHOUT_EVIDENCE = {"title", "evidence", "engine", "reviewed", "name"}
_PATH_KEYS = {"relay_protocols", "peer_to_peer", "relay_tls_port"}
"""Keys that may have evidence without needing it."""


@dataclass(frozen=True)
class Codec:
    """How speech is coded: Opus (RFC 6716)."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    bitrate_bps: int
    frame_ms: Literal[20, 40, 60]
    fec: bool
    """In-band forward error correction."""
    expected_loss_percent: int = 0
    """The encoder's setting for the expected packet loss; a higher one makes FEC stronger."""
    cbr: bool = False
    """A constant bitrate: all frames have the same size."""
    dtx: bool = False
    """Discontinuous transmission: while nobody speaks, only one frame every 400 ms is sent."""


@dataclass(frozen=True)
class Probes:
    """Padding packets, sent along with media to probe the rate that the path carries."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    at_s: float
    """When they begin, after the first frame (s)."""
    packets: int
    packet_bytes: int
    """The size of an RTP packet with header and tag, without the dialect's wrapper."""
    over_s: float
    """The time from the first to the last packet (s)."""


@dataclass(frozen=True)
class Repair:
    """How lost frames are repaired other than by FEC; by default they are not."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    nack: bool = False
    """The receiver requests missing packets (RFC 4585, 6.2.1), and the sender retransmits them."""
    red: bool = False
    """Each packet carries the frame before its own, too (RFC 2198)."""
    copies: int = 1
    """How many times each frame is sent."""
    copy_after_ms: float = 20.0
    """The time from one copy of a frame to the next (ms)."""

    def __post_init__(self) -> None:
        if self.copies < 1 or self.copy_after_ms < 0:
            raise ValueError("copies, copy_after_ms: at least 1 and 0")


@dataclass(frozen=True)
class Chat:
    """The chat during a call: messages over TLS 1.3 that the messenger's server echoes."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    port: int
    interval_s: float
    message_bytes: int


@dataclass(frozen=True)
class PlayoutOptions:
    """A messenger's changes to NetEq's defaults (`testbed.call.jitterbuffer.playout`)."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    fast_accelerate: bool = False
    """A buffer that is far above its target is shortened faster."""
    min_delay_ms: float = 0.0
    """The minimum of the target delay (ms)."""

    def __post_init__(self) -> None:
        if self.min_delay_ms < 0:
            raise ValueError("min_delay_ms: must not be less than 0")


@dataclass(frozen=True)
class Messenger:
    """A messenger's calls and chat."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    title: str
    """The name shown to people; that of a model says that it is a model."""
    dialect: str
    """A name in `testbed.call.dialects.DIALECTS`; for a real engine, its protocol in words."""
    servers: Literal["foreign", "domestic"]
    """Where the relay and the chat server are."""
    relay_port: int
    connect_timeout_s: float
    """An end that is not connected after this time gives up (s)."""
    silence_timeout_s: float
    """A connected end that receives nothing for this time ends the call (s)."""
    codec: Codec
    chat: Chat
    evidence: Mapping[str, Evidence]
    """The source and confidence of each of the above except the title."""
    engine: str = "model"
    """What makes the calls: a model, or a real engine, by the name in `testbed.call.engines`.

    A real engine has its own codec and time-outs; the values above are what is known of them.
    """
    relay_protocols: tuple[RelayProtocol, ...] = ("udp",)
    """The protocols by which an end may reach its relay, the preferred one first; through a
    transport it is always UDP.

    A model sets all of them up at once and prefers the earlier ones, as ICE does
    (`testbed.lab.engines.model`).
    """
    peer_to_peer: bool = False
    """Whether the ends also try to reach each other without the relay, and prefer that. Through a
    transport they do not, because it leads to the relay. A model does so without ICE, so that it
    cannot be behind a NAT."""
    relay_tls_port: int = 5349
    """The relay's port for TLS (RFC 8656, 18)."""
    adaptation: Adaptation | None = None
    """How a model's sender reacts to its receiver's reports; None: there are no reports. For a real
    engine it is what is known about its FEC, from which we infer which frames carry any."""
    probes: tuple[Probes, ...] = ()
    """The probes that a model sends on its path."""
    repair: Repair = field(default_factory=Repair)
    playout: PlayoutOptions = field(default_factory=PlayoutOptions)
    """How its receivers play what arrives."""
    reviewed: str = field(default="", kw_only=True)
    """When it was last checked against its sources, such as `2026-11-30`; required in a file."""
    name: str = field(default="", kw_only=True)
    """The file's name."""

    def __post_init__(self) -> None:
        check_reviewed(self.reviewed)
        if self.engine not in ENGINES:
            raise ValueError(f"engine: there is no {self.engine!r}, only {sorted(ENGINES)}")
        if self.is_model and self.dialect not in DIALECTS:
            raise ValueError(f"dialect: there is no {self.dialect!r}, only {sorted(DIALECTS)}")
        if other := set(self.relay_protocols) - set(ENGINES[self.engine].relay_protocols):
            raise ValueError(
                f"relay_protocols: the engine {self.engine} does not support {sorted(other)}"
            )
        self._check_engine()
        self._check_peer_to_peer()
        needed = self._keys_with_evidence()
        if missing := needed - set(self.evidence):
            raise ValueError(f"evidence is missing for {sorted(missing)}")
        if unknown := set(self.evidence) - needed - _PATH_KEYS:
            raise ValueError(f"evidence for unknown keys {sorted(unknown)}")

    def _check_engine(self) -> None:
        if self.repair.red and not ENGINES[self.engine].red:
            raise ValueError(f"repair: the engine {self.engine} cannot be made to send RED")
        if self.is_model:
            return
        if self.probes or self.repair != Repair(nack=self.repair.nack, red=self.repair.red):
            raise ValueError(
                "probes, repair: a real engine cannot be given these, except for nack and red"
            )
        if self.repair.nack and not ENGINES[self.engine].nack:
            raise ValueError(f"repair: the engine {self.engine} cannot be made to send NACKs")

    @property
    def is_model(self) -> bool:
        """Whether its engine is a model, which speaks its dialect."""
        return ENGINES[self.engine].is_model

    def _check_peer_to_peer(self) -> None:
        engine = ENGINES[self.engine]
        has_peer = DIALECTS[self.dialect][0].has_peer if self.is_model else engine.peer_to_peer
        if self.peer_to_peer and not has_peer:
            what = f"the dialect {self.dialect}" if self.is_model else f"the engine {self.engine}"
            raise ValueError(f"peer_to_peer: {what} has no path without a relay")

    def _keys_with_evidence(self) -> set[str]:
        """Return the keys that need evidence.

        Keys with a default need it only if their value differs from the default; keys about paths
        also need it only for a model.
        """
        is_model = self.is_model
        differs = {
            "adaptation": self.adaptation is not None,
            "probes": bool(self.probes),
            "repair": self.repair != Repair(),
            "playout": self.playout != PlayoutOptions(),
            "relay_protocols": is_model and bool(set(self.relay_protocols) - {"udp"}),
            "relay_tls_port": is_model and "tls" in self.relay_protocols,
            "peer_to_peer": self.peer_to_peer,
        }
        always = {f.name for f in fields(self)} - _KEYS_WITHOUT_EVIDENCE - set(differs)
        return always | {key for key, needs in differs.items() if needs}
