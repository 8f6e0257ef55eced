"""Define the interface of all call engines, and what they are given.

A file of this folder with an `ENGINE` is an engine; the others are what several engines share.

A cell uses an engine in three steps: first `serve_relay`, then `prepare`, before the transport
connects, and `call` once it has. An engine reaches its relay by a `Way`: directly, or
through the channel of a transport.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import NamedTuple, Protocol

import trio

from testbed.call.engines import Engine
from testbed.call.messenger import Messenger
from testbed.lab.net.udp import UdpChannel
from testbed.lab.nodes.host import LabHost
from testbed.record.observation import CallRecord
from testbed.transport.interface import Address

Channel = trio.abc.Channel[bytes]


class Way(NamedTuple):
    """How an end reaches its relay."""

    host: LabHost
    """The end's node."""
    relay: Address
    channel: Channel | None = None
    """What carries datagrams to the relay; None if there is nothing in between."""

    @property
    def is_direct(self) -> bool:
        """Whether there is no transport in between, so that any protocol reaches the relay."""
        channel = self.channel
        return channel is None or (
            isinstance(channel, UdpChannel) and channel.remote == self.relay and not channel.tunnel
        )


class Setting(NamedTuple):
    """What an engine is created from."""

    messenger: Messenger
    rng: Random
    frames: Mapping[str, Sequence[Sequence[bytes]]]
    """The frames of speech by direction, in each encoding; only the model uses them."""
    chat_server: Address
    job: Path
    """The folder with the cell's files."""


class CallEngine(Protocol):
    """Makes one call between two ends; is created from a `Setting`."""

    async def serve_relay(self, servers: LabHost, relay: Address) -> None:
        """Start the messenger's relay on the node of its servers; it runs until that closes."""
        ...

    async def prepare(self, caller: LabHost, callee: LabHost) -> None:
        """Prepare a call on both ends' nodes: start programs, sign in."""
        ...

    async def call(self, caller: Way, callee: Way, duration_s: float) -> CallRecord:
        """Dial now, talk for `duration_s` from the set-up, hang up."""
        ...


@dataclass(frozen=True, kw_only=True)
class LabEngine(Engine):
    """An engine as the lab conducts it; `ENGINE` in its file."""

    make: Callable[[Setting], CallEngine]
    """Make the engine of one call."""
