"""What a dialect and a relay are, and what several have in common; speaks none."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from random import Random
from typing import ClassVar, Literal, NamedTuple, Protocol

from testbed.transport import stun
from testbed.transport.interface import Address

RelayProtocol = Literal["udp", "tcp", "tls"]
"""By what an end reaches its relay."""
PathProtocol = RelayProtocol | Literal["peer"]
"""By what an end reaches the other one: through the relay, or at its own address by UDP."""
STUN_REPEAT_S = 0.5
"""First retransmission of a STUN request: RTO = 500 ms, then doubled (RFC 8489, 6.2.1)."""


class Stage(Enum):
    """How far an end is by one path, as ICE has it (RFC 8445)."""

    GATHERING = auto()
    """It has no address at the relay yet that the other end could send to."""
    CHECKING = auto()
    """It does not know yet whether the other end hears it."""
    CHECKED = auto()


SIGNALLED = b"signalled"
"""What a set-up receives in place of a datagram once an end knows all from the signalling."""


class Signal(NamedTuple):
    """A message of the signalling, which goes through the messenger's server by TLS."""

    is_caller: bool
    """Which end sends it, once it has the one before."""
    size: int
    """Bytes."""


class Step(NamedTuple):
    """One exchange: a request is repeated until its answer comes."""

    name: str
    request: bytes | None
    """None: only wait."""
    is_answer: Callable[[bytes], bool]
    repeat_s: float = STUN_REPEAT_S
    backoff: float = 2.0
    """Each wait is this many times the one before."""
    stage: Stage = Stage.CHECKING
    """Of an end that waits for the answer."""


@dataclass(frozen=True)
class Session:
    """What both ends of a call know from the signalling, and which end this is."""

    call_id: bytes
    """16 bytes."""
    is_caller: bool
    protocol: PathProtocol = "udp"

    @property
    def repeat_s(self) -> float:
        """After what a request to the relay is sent again for the first time: never on a stream."""
        return math.inf if self.protocol in ("tcp", "tls") else STUN_REPEAT_S

    def tag(self, *, own: bool) -> bytes:
        """Return the 16-byte tag of this end or of the other."""
        return self.call_id[:15] + bytes([self.is_caller is own])


class Framing(NamedTuple):
    """How datagrams stand on a stream to the relay."""

    opening: bytes
    """What the client says first."""
    frame: Callable[[bytes], bytes]
    take: Callable[[bytearray], bytes | None]
    """Take the first whole datagram off a stream's bytes; None: it is not yet whole."""


class Dialect(Protocol):
    """One end of a call in a messenger's dialect."""

    framing: ClassVar[Framing]
    """How it stands on a stream, for a messenger whose relay is reached by one."""
    signalling: ClassVar[Sequence[Signal]]
    """What the ends tell each other before they check their path; empty: that is left out."""
    has_peer: ClassVar[bool]
    """Whether it is known what ends say that reach each other without a relay."""

    def __init__(self, session: Session, frame_ms: int, rng: Random) -> None: ...

    def steps(self) -> Sequence[Step]:
        """Return the exchanges of the set-up, in order."""
        ...

    def answer(self, datagram: bytes) -> bytes | None:
        """Answer a request of the other end."""
        ...

    def media(self, index: int, frame: bytes, sequence: int | None = None) -> bytes:
        """Return the datagram of a frame; `sequence`, if frames before it were not sent."""
        ...

    def numbers(self, datagram: bytes) -> tuple[int, int] | None:
        """Return a media datagram's sequence number (16 bits) and its frame's number.

        None: it is not media.
        """
        ...

    def beside(self, packet: bytes) -> bytes:
        """Return the datagram of a packet that goes beside media: RTCP, padding."""
        ...

    def rtcp(self, datagram: bytes, kind: tuple[int, int]) -> bytes | None:
        """Return the body of the RTCP packet of a kind that a datagram is, or None."""
        ...


Shortcuts = Mapping[tuple[Address, bytes], Address]
"""What a relay passes on unchanged: to where, by where a datagram comes from and what it begins
with."""


class Relay(Protocol):
    """A relay of the messenger: joins the ends of calls."""

    @property
    def shortcuts(self) -> Shortcuts:
        """Return the media of ends that are joined: `on_datagram` does nothing else with it."""
        ...

    def on_datagram(self, datagram: bytes, source: Address) -> tuple[bytes, Address] | None:
        """Return what to send where for a datagram, if anything."""
        ...


class Joined:
    """The ends of calls by their names, of which two that differ in the last byte make a call."""

    def __init__(self, media: bytes) -> None:
        self.shortcuts: dict[tuple[Address, bytes], Address] = {}
        self._media = media
        """What media begins with."""
        self._names: dict[Address, bytes] = {}
        self._addresses: dict[bytes, Address] = {}

    def know(self, name: bytes, address: Address) -> None:
        """Note where an end is."""
        self._names[address], self._addresses[name] = name, address
        peer = self.peer(address)
        if peer is not None:
            self.shortcuts = {(address, self._media): peer, (peer, self._media): address}

    def knows(self, address: Address) -> bool:
        """Whether an end is there."""
        return address in self._names

    def peer(self, address: Address) -> Address | None:
        """Return where the other end is."""
        name = self._names.get(address)
        return None if name is None else self._addresses.get(name[:-1] + bytes([1 - name[-1]]))


def answers(request: bytes, kind: int) -> Callable[[bytes], bool]:
    """Return what tells a STUN request's answer of a kind."""
    transaction = stun.transaction_of(request)
    return lambda datagram: (
        stun.type_of(datagram) == kind and stun.transaction_of(datagram) == transaction
    )
