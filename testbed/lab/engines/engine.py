"""The seam of all call engines; no engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple, Protocol

import trio

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
    """What carries datagrams to the relay; None: nothing is in between."""

    @property
    def is_direct(self) -> bool:
        """Whether no transport is in between: the relay is there by any protocol."""
        channel = self.channel
        return channel is None or (
            isinstance(channel, UdpChannel) and channel.remote == self.relay and not channel.tunnel
        )


class Setting(NamedTuple):
    """What an engine is made of."""

    messenger: Messenger
    rng: Random
    frames: Mapping[str, Sequence[Sequence[bytes]]]
    """The speech by direction in each encoding, for a model."""
    chat_server: Address
    job: Path
    """The folder with the cell's files."""


class CallEngine(Protocol):
    """Makes one call between two ends; is made of a `Setting`."""

    async def serve_relay(self, servers: LabHost, relay: Address) -> None:
        """Run the messenger's relay on the node of its servers, until that closes."""
        ...

    async def prepare(self, caller: LabHost, callee: LabHost) -> None:
        """Do what comes before a call on both ends' nodes: start programs, sign in."""
        ...

    async def call(self, caller: Way, callee: Way, duration_s: float) -> CallRecord:
        """Dial now, talk for `duration_s` from the set-up, hang up."""
        ...
