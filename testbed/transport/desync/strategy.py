"""Define a strategy: for which packets it is, and what is done to them.

A strategy is a list of tactics, of which the first whose filter matches a packet applies. A tactic
does up to three things, in this order: it sends fakes, it sends the packet itself in another form
(`then`), and it sends duplicates of a packet that keeps its form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Literal, NamedTuple

Layer7 = Literal["http", "tls", "quic", "stun", "wireguard", "dht", "discord", "unknown"]
"""What a payload may be recognised as."""
Numbering = Literal["seq", "zero", "rnd"]
"""The identification of packets that are made: each the next number, none, or a random one."""
FakeKind = Literal["bytes", "random", "tls", "quic", "stun", "http", "original"]
"""Given or random bytes, a message that is made, or the packet's own payload."""
ANY_PORT = range(65536)
MESSENGERS = "messenger.example"
"""The domain of the lab's messengers, which stands for a list of hosts that is not here."""


class AutoTtl(NamedTuple):
    """A TTL from the distance of the server: how far from it, and within which bounds."""

    delta: int = -1
    least: int = 3
    most: int = 20


@dataclass(frozen=True)
class Disguise:
    """How packets differ from the packet that they are made from, so that servers discard them."""

    ttl: int = 0
    """0: as the packet's own."""
    auto_ttl: AutoTtl | None = None
    bad_checksum: bool = False
    sequence_by: int = 0
    acknowledgement_by: int = 0
    timestamp_by: int = 0
    md5: bool = False
    """Whether they carry a TCP MD5 signature (RFC 2385), which no server here expects."""
    set_flags: int = 0
    unset_flags: int = 0


@dataclass(frozen=True)
class Limit:
    """A number of packets (n), of packets with payload (d), or a relative sequence number (s)."""

    counts: Literal["n", "d", "s"] = "n"
    number: int = 0
    """0: no limit."""


class Marker(NamedTuple):
    """A position in a payload: an offset from a named place, or from the start or the end."""

    place: str = ""
    """`method`, `host`, `midhost`, `endhost`, `sld`, `midsld`, `endsld`, `sniext`; empty: the
    start, or with a negative offset the end."""
    offset: int = 0


@dataclass(frozen=True)
class Fake:
    """The payload of a fake packet."""

    kind: FakeKind = "bytes"
    content: bytes = b""
    size_bytes: int = 0
    """The length of random bytes."""
    name: str = ""
    """The server that a ClientHello or a request names; with `random_name`, another one."""
    random_name: bool = False
    same_session: bool = False
    """Whether a ClientHello has the session ID of the real one."""


@dataclass(frozen=True)
class Pieces:
    """A TCP payload sent in pieces."""

    at: Sequence[Marker]
    is_reversed: bool = False
    faked: Literal["", "pieces", "host"] = ""
    """`pieces`: a fake before and after each piece; `host`: before and after the host's name."""
    late: frozenset[int] = frozenset()
    """The numbers of pieces that leave after all others, as byedpi's `disorder` has it."""
    stood_in: frozenset[int] = frozenset()
    """Those of them in whose place a part of a fake leaves first, as byedpi's `fake` has it."""
    overlap: Marker | None = None
    """How many bytes precede a piece that the server has, or will have, from elsewhere."""
    pattern: bytes = b"\0"
    """What fakes and overlaps consist of, repeated; not empty."""
    fake_host: str = ""
    """What fakes of the host's name end with; empty: random."""


@dataclass(frozen=True)
class Fragments:
    """IP fragments, cut this many bytes after the IP header; a multiple of 8."""

    udp_at: int = 8
    tcp_at: int = 32


@dataclass(frozen=True)
class Padding:
    """A UDP payload that is longer, or with a negative number shorter."""

    by_bytes: int = 2
    pattern: bytes = b"\0"


@dataclass(frozen=True)
class Duplicates:
    """Copies of a packet that is sent in its own form, before it."""

    count: int
    disguise: Disguise = Disguise()
    replaces: bool = False
    """Whether the packet itself is not sent."""
    start: Limit = Limit()
    cutoff: Limit = Limit()


@dataclass(frozen=True)
class Original:
    """Changes of the packet itself."""

    disguise: Disguise
    start: Limit = Limit()
    cutoff: Limit = Limit()


@dataclass(frozen=True)
class Filter:
    """Which packets a tactic is for."""

    udp: Sequence[range] = (ANY_PORT,)
    """Ports of the server; empty: no UDP."""
    tcp: Sequence[range] = (ANY_PORT,)
    layer7: frozenset[Layer7] = frozenset()
    """Empty: any."""
    hosts: frozenset[str] | None = None
    """Domains, of which a flow must have named one; None: any flow."""
    not_hosts: frozenset[str] = frozenset()
    networks: Sequence[IPv4Network] | None = None
    """None: any server, but see `messengers`."""
    messengers: bool = False
    """Whether the servers of the lab's messengers are also meant."""
    not_networks: Sequence[IPv4Network] = ()


@dataclass(frozen=True)
class Tactic:
    """What is done to some packets."""

    filter: Filter = Filter()
    fakes: Mapping[Layer7, Sequence[Fake]] = field(default_factory=dict, hash=False)
    """The payloads of fakes, by what the packet is; those missing are nfqws's own (`fakes`)."""
    sends_fakes: bool = False
    resets: int = 0
    """TCP flags of a fake segment without payload, such as RST; 0: none."""
    then: Pieces | Fragments | Padding | None = None
    disguise: Disguise = Disguise()
    repeats: int = 1
    any_protocol: bool = False
    """Whether payloads count that are not recognised."""
    start: Limit = Limit()
    cutoff: Limit = Limit()
    """From this packet on nothing is done any more."""
    numbers: Numbering = "seq"
    duplicates: Duplicates | None = None
    original: Original | None = None


@dataclass(frozen=True)
class Strategy:
    """Tactics, the packets that a tool lets itself see, and what was said about the command."""

    tactics: Sequence[Tactic] = ()
    udp: Sequence[range] = (ANY_PORT,)
    tcp: Sequence[range] = (ANY_PORT,)
    notes: Sequence[str] = ()
    files: Sequence[str] = ()
    """The files that it has read."""


class StrategyError(ValueError):
    """A command line that cannot be followed; the message names what, and what would be lost."""
