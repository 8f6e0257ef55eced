"""Change what a node sends, without a bridge: fakes, pieces, fragments, padding, duplicates.

`strategy` takes a command line of nfqws, winws or byedpi as people paste it. The other parameters
describe one tactic for method work, which does the same with no tool's syntax. How packets are
changed is in `testbed.transport.desync`.

Example:
    [transports.mine]
    kind = "desync"
    strategy = '''
    --filter-udp=3478,50000-50100 --filter-l7=stun --dpi-desync=fake --dpi-desync-repeats=6
    '''

    [transports.random-fakes]
    kind = "desync"
    fake = "random"
    fake_bytes = 120
    protocol = "udp"
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random
from typing import Literal

import trio

from testbed.transport.client_side import Ends
from testbed.transport.desync import values
from testbed.transport.desync.pasted_command import read_strategy
from testbed.transport.desync.rewriting import Desync
from testbed.transport.desync.strategy import (
    Disguise,
    Duplicates,
    Fake,
    Filter,
    Fragments,
    Layer7,
    Limit,
    Marker,
    Padding,
    Pieces,
    Strategy,
    Tactic,
)
from testbed.transport.interface import Address, Host, Program, ServerInfo

_LAYERS: Sequence[Layer7] = (
    "http", "tls", "quic", "stun", "wireguard", "dht", "discord", "unknown",
)  # fmt: skip


@dataclass(frozen=True)
class Transport:
    """Changes the node's own packets, as nfqws does, on the direct path. Unreliable, unordered."""

    strategy: str = ""
    """A command line of nfqws, winws or byedpi; the following parameters then stay as they are."""
    fake: str = ""
    """What fakes hold: `random`, `zeros`, `stun`, `tls NAME`, `quic NAME`, `0xHEX` or a path."""
    fake_bytes: int = 64
    """The length of random bytes and zeros."""
    repeats: int = 1
    """How often each fake is sent."""
    ttl: int = 0
    """The TTL of fakes; 0: the packet's own. In the lab, 4 passes the middlebox and no relay."""
    bad_checksum: bool = False
    """Whether fakes have a wrong checksum, so that no server accepts them."""
    split: tuple[str, ...] = ()
    """Where TCP payloads are cut: offsets, or markers such as `midsld` (zapret's)."""
    disorder: bool = False
    """Whether the pieces leave in reverse."""
    overlap: int = 0
    """How many bytes of zeros precede and overlap a piece."""
    pad: int = 0
    """By how many bytes datagrams are longer."""
    fragment: int = 0
    """Where packets are cut into two IP fragments, a multiple of 8; 0: nowhere."""
    duplicates: int = 0
    """How many copies precede a packet."""
    first: int = 0
    """How many packets with payload of each flow are changed; 0: all."""
    protocol: Literal["udp", "tcp", "both"] = "both"
    """Which packets are changed."""
    ports: str = "*"
    """The servers' ports: `443,50000-50100`."""
    ends: Ends = "caller"
    """Which ends of a call do this."""

    def __post_init__(self) -> None:
        _ = self.read  # raises StrategyError
        if self.strategy and replace(self, strategy="", ends="caller") != Transport():
            raise ValueError("strategy: a command line says all; leave the other parameters out")

    @cached_property
    def read(self) -> Strategy:
        """What is done."""
        return read_strategy(self.strategy, _content) if self.strategy else self._own()

    @property
    def notes(self) -> Sequence[str]:
        """How the strategy was understood."""
        return self.read.notes

    @property
    def programs(self) -> tuple[Program, ...]:
        """The files that the strategy names, which guests need as well."""
        return tuple(Program(file, is_data=True) for file in self.read.files)

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Return `forward` itself: nothing runs on the bridge."""
        return ServerInfo(forward)

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        """Change the node's packets from now on, and open a UDP socket to the relay."""
        rng = Random(host.random.random())
        await host.rewrite_packets(Desync(self.read, rng, [server.address.host]))
        return await host.open_udp(server.address)

    def _own(self) -> Strategy:
        """Return the one tactic that the other parameters describe; none if they describe none."""
        tactic = Tactic(
            Filter(
                udp=() if self.protocol == "tcp" else values.ports("ports", self.ports),
                tcp=() if self.protocol == "udp" else values.ports("ports", self.ports),
            ),
            any_protocol=True,
            cutoff=Limit("d", self.first + 1 if self.first else 0),
        )
        idle = tactic
        if self.fake:
            fake, files = self._fake()
            tactic = replace(
                tactic,
                sends_fakes=True,
                fakes=dict.fromkeys(_LAYERS, (fake,)),
                repeats=self.repeats,
                disguise=Disguise(self.ttl, bad_checksum=self.bad_checksum),
            )
        else:
            files = ()
        changed = self._changes(tactic)
        return Strategy(() if changed == idle else (changed,), files=files)

    def _fake(self) -> tuple[Fake, Sequence[str]]:
        """Return what fakes hold, and the files that were read for it.

        Raises:
            ValueError: It is malformed, or its file is not here.
        """
        kind, _, name = self.fake.partition(" ")
        if kind in ("tls", "quic"):
            if not name:
                raise ValueError(f"fake: the server's name is missing, as in '{kind} www.example'")
            return Fake("tls" if kind == "tls" else "quic", name=name), ()
        if kind == "random":
            return Fake("random", size_bytes=self.fake_bytes), ()
        if kind == "zeros":
            return Fake(content=bytes(self.fake_bytes)), ()
        if kind == "stun":
            return Fake("stun"), ()
        content, file = values.blob("fake", self.fake, _content)
        if content is None:
            raise ValueError(
                f"fake: {self.fake!r} is neither random, zeros, stun, 'tls NAME', 'quic NAME' nor "
                "0xHEX, and there is no such file"
            )
        return Fake(content=content), (file,) if file else ()

    def _changes(self, tactic: Tactic) -> Tactic:
        """Return the tactic with another form of the packet itself.

        Raises:
            ValueError: Two forms were asked for, or a number is impossible.
        """
        forms = [
            form
            for form, is_asked in (
                (self._pieces(), bool(self.split)),
                (Padding(self.pad), bool(self.pad)),
                (Fragments(self.fragment, self.fragment), bool(self.fragment)),
            )
            if is_asked
        ]
        if len(forms) > 1:
            raise ValueError("split, pad, fragment: a packet is changed in one of these ways")
        if self.fragment % 8 or self.fragment < 0:
            raise ValueError("fragment: must be a multiple of 8")
        copies = Duplicates(self.duplicates, cutoff=tactic.cutoff) if self.duplicates else None
        return replace(tactic, then=forms[0] if forms else None, duplicates=copies)

    def _pieces(self) -> Pieces:
        at = values.markers("split", ",".join(self.split)) if self.split else ()
        overlap = Marker("", self.overlap) if self.overlap else None
        return Pieces(at, is_reversed=self.disorder, overlap=overlap)


def _content(file: str) -> bytes | None:
    """Return the content of a file that is here, or that a guest has a copy of."""
    found = Program(file, is_data=True).find()
    return None if found is None else found.read_bytes()
