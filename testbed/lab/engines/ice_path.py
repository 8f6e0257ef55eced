"""Open and set up one path of a modelled call, through a relay or between the ends.

A path has two legs, one for each end. Each leg first opens its channel (a UDP socket, or TCP or
TLS to the relay), then exchanges the set-up datagrams of its dialect (`call_setup`) until it is
connected. The exchange goes on until both ends are done, because an end that is connected must
still answer the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path as Folder

import trio

from testbed.call.call_setup import Setup
from testbed.call.dialects import Dialect, PathProtocol, Stage
from testbed.lab.engines.engine import Channel, Way
from testbed.lab.nodes.host import LOST
from testbed.lab.nodes.tls_streams import connect_tls
from testbed.transport.channels import StreamDatagrams
from testbed.transport.interface import Address, TimedChannel, TimedDatagrams
from testbed.transport.tcp_datagrams import TcpDatagrams


@dataclass(eq=False)
class Leg:
    """One end's part of a path."""

    end: str
    dialect: Dialect
    setup: Setup
    port: int = 0
    """This end's port, if the other end sends to it directly; signalling has announced it."""
    channel: Channel | None = None
    """None until it is open."""
    timed: TimedDatagrams | None = None
    """The channel's interface with timestamps, if it has one."""

    def open(self, channel: Channel) -> None:
        """Set what carries datagrams."""
        self.channel = channel
        self.timed = channel.timed() if isinstance(channel, TimedChannel) else None

    @property
    def waits_for(self) -> str:
        """What this end is waiting for, in words."""
        return f"{self.end} to {'connect' if self.channel is None else self.setup.step}"


@dataclass(eq=False)
class Path:
    """Both ends' legs."""

    protocol: PathProtocol
    legs: Sequence[Leg]
    is_over: bool = False
    """Whether the set-up is over: the path is connected, or never will be."""
    _given_up: trio.CancelScope = field(default_factory=trio.CancelScope)

    @property
    def is_connected(self) -> bool:
        """Whether both ends are connected by this path."""
        return all(leg.setup.connected_at is not None for leg in self.legs)

    def give_up(self) -> None:
        """Abandon the set-up; this path will never be connected."""
        self._given_up.cancel()

    async def set_up(
        self, ways: Sequence[Way], *, tls_port: int, job: Folder, checked: Callable[[Leg], None]
    ) -> None:
        """Run until both ends are connected, or one has given up or lost its connection.

        `checked` is called with the leg of an end that has learned that the other end hears it.
        """
        with self._given_up:
            await self._set_up(ways, tls_port, job, checked)

    async def _set_up(
        self, ways: Sequence[Way], tls_port: int, job: Folder, checked: Callable[[Leg], None]
    ) -> None:
        deadline = min(leg.setup.deadline for leg in self.legs)
        try:
            with trio.move_on_at(deadline):
                async with trio.open_nursery() as nursery:
                    peers = [
                        Address(way.host.address, leg.port)
                        for leg, way in zip(self.legs, ways, strict=True)
                    ]
                    for leg, way, peer in zip(self.legs, ways, reversed(peers), strict=True):
                        nursery.start_soon(self._open, leg, way, peer, tls_port, job)
            if all(leg.channel is not None for leg in self.legs):
                async with trio.open_nursery() as nursery:
                    for leg in self.legs:
                        finish = nursery.cancel_scope.cancel
                        nursery.start_soon(self._exchange, leg, checked, finish)
        except* LOST:
            pass

    async def _open(self, leg: Leg, way: Way, peer: Address, tls_port: int, job: Folder) -> None:
        if self.protocol == "peer":
            leg.open(await way.host.open_udp(peer, port=leg.port))
            return
        if self.protocol == "udp":
            leg.open(way.channel or await way.host.open_udp(way.relay))
            return
        framing = leg.dialect.framing
        if self.protocol == "tcp":
            tcp = await way.host.open_tcp(way.relay)
            await _send_opening(tcp, framing.opening)
            leg.open(TcpDatagrams(tcp, frame=framing.frame, take=framing.take))
        else:
            tls = await connect_tls(way.host, Address(way.relay.host, tls_port), job)
            await _send_opening(tls, framing.opening)
            leg.open(StreamDatagrams(tls, way.host, frame=framing.frame, take=framing.take))

    async def _exchange(
        self, leg: Leg, checked: Callable[[Leg], None], finish: Callable[[], None]
    ) -> None:
        """Send what is due and answer what arrives, until both ends are done or one has failed."""
        setup, channel = leg.setup, leg.channel
        assert channel is not None
        while True:
            for datagram in setup.due(trio.current_time()):
                await channel.send(datagram)
            if self._is_over():
                break
            with trio.move_on_at(math.inf if setup.done else setup.next_at):
                datagram = await channel.receive()
                for reply in setup.receive(datagram, trio.current_time()):
                    await channel.send(reply)
                if setup.stage is Stage.CHECKED:
                    checked(leg)
        finish()

    def _is_over(self) -> bool:
        setups = [leg.setup for leg in self.legs]
        return all(s.done for s in setups) or any(s.failed_at is not None for s in setups)


async def _send_opening(stream: trio.abc.SendStream, opening: bytes) -> None:
    if opening:
        await stream.send_all(opening)
