"""One path of a modelled call, by a relay or without: opens it and sets it up; no media."""

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
    """Its own, if the other end is to send to it; the signalling has told that one."""
    channel: Channel | None = None
    """None: it is not open yet."""
    timed: TimedDatagrams | None = None
    """The channel's view that keeps times, if it has one."""

    def open(self, channel: Channel) -> None:
        """Set what carries datagrams."""
        self.channel = channel
        self.timed = channel.timed() if isinstance(channel, TimedChannel) else None

    @property
    def waits_for(self) -> str:
        """What it is trying to do, for people."""
        return f"{self.end} to {'connect' if self.channel is None else self.setup.step}"


@dataclass(eq=False)
class Path:
    """Both ends' legs."""

    protocol: PathProtocol
    legs: Sequence[Leg]
    is_over: bool = False
    """Its set-up is: it is connected or never will be."""
    _given_up: trio.CancelScope = field(default_factory=trio.CancelScope)

    @property
    def is_connected(self) -> bool:
        """Whether both ends are connected by it."""
        return all(leg.setup.connected_at is not None for leg in self.legs)

    def give_up(self) -> None:
        """End its set-up: it will never be connected."""
        self._given_up.cancel()

    async def set_up(
        self, ways: Sequence[Way], *, tls_port: int, job: Folder, checked: Callable[[Leg], None]
    ) -> None:
        """Run until both ends are connected by it, or one has given up or lost it.

        `checked` is told of an end that knows that the other one hears it.
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
        """Send what is due and answer what comes, while one end is not yet connected."""
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
