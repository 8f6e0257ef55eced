"""What a transport may be that has no bridge: it changes what a node sends on the direct path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

Ends = Literal["caller", "both"]
"""The ends of a call that evade: the caller alone, or the callee as well, even if it is abroad."""


@runtime_checkable
class ClientSide(Protocol):
    """A transport without a bridge: it changes what a node sends on the direct path."""

    @property
    def ends(self) -> Ends:
        """Which ends of a call use it."""
        ...


@runtime_checkable
class Noting(Protocol):
    """A transport that has something to say about how it understood its parameters."""

    @property
    def notes(self) -> Sequence[str]:
        """What a person must know of it before reading a result; each is one line."""
        ...


class PacketRewriter(Protocol):
    """Decides what leaves a node instead of the packets that it sends.

    Packets are whole IP packets. Its answers follow from the packets, their times and its own
    state.
    """

    def sent(self, packet: bytes, now: float, /) -> Sequence[bytes]:
        """Return what leaves at once, in this order, instead of a packet that the node sends.

        `now` (s) never decreases. A packet that is to leave as it is comes back as it is.
        """
        ...

    def received(self, packet: bytes, now: float, /) -> None:
        """Note a packet that the node receives, which it gets in any case."""
        ...
