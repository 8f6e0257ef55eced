"""Datagrams over a kernel's TCP, and on to a relay."""

import socket
import struct
import time

import pytest
import trio
import trio.testing

from testbed.transport.channels import forward_tcp
from testbed.transport.framing import frame_datagram
from testbed.transport.interface import MAX_DATAGRAM_BYTES
from testbed.transport.loopback import LoopbackHost
from testbed.transport.tcp_datagrams import QUEUE_DATAGRAMS, TcpDatagrams
from tests.loopback import serve_udp_echo, with_host
from tests.transport.test_datagrams import numbered


async def by_tcp(host: LoopbackHost) -> tuple[TcpDatagrams, trio.SocketStream]:
    accepted, theirs = trio.open_memory_channel[trio.SocketStream](1)

    async def accept(stream: trio.SocketStream) -> None:
        accepted.send_nowait(stream)
        await trio.sleep_forever()

    ours = await host.open_tcp(await host.serve_tcp(0, accept))
    return TcpDatagrams(ours), await theirs.receive()


def test_by_tcp_what_the_kernel_does_not_take_keeps_its_place() -> None:
    async def use(host: LoopbackHost) -> None:
        channel, theirs = await by_tcp(host)
        other = TcpDatagrams(theirs)
        sent = []
        number = 0
        while not channel.dropped:
            sent.append(number.to_bytes(4, "big") * 5000)
            await channel.send(sent[-1])  # never waits
            number += 1
        del sent[-1]
        assert len(sent) > QUEUE_DATAGRAMS
        for datagram in sent:
            assert await other.receive() == datagram
        await channel.send(b"and goes on")
        assert await other.receive() == b"and goes on"
        assert channel.dropped == 1
        await channel.aclose()
        await other.aclose()

    with_host(use)


def test_by_tcp_the_end_and_a_reset_are_errors() -> None:
    async def use(host: LoopbackHost) -> None:
        channel, theirs = await by_tcp(host)
        await theirs.send_all(frame_datagram(b"whole") + b"\x00\x09half")
        await theirs.send_eof()
        assert await channel.receive() == b"whole"
        with pytest.raises(trio.EndOfChannel):
            await channel.receive()
        await channel.aclose()
        await theirs.aclose()

        channel, theirs = await by_tcp(host)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await theirs.aclose()
        with pytest.raises(trio.BrokenResourceError):
            await channel.receive()
        for datagram in numbered(3):
            await channel.send(datagram)
        await trio.testing.wait_all_tasks_blocked()
        await channel.send(b"late")
        assert channel.dropped >= 1
        await channel.aclose()

    with_host(use)


def test_a_closed_tcp_channel_says_so() -> None:
    async def use(host: LoopbackHost) -> None:
        channel, theirs = await by_tcp(host)
        await channel.aclose()
        await theirs.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await channel.send(b"late")
        with pytest.raises(trio.ClosedResourceError):
            await channel.receive()

    with_host(use)


def test_by_tcp_datagrams_leave_at_their_times_and_arrive_with_them() -> None:
    async def use(host: LoopbackHost) -> None:
        channel, theirs = await by_tcp(host)
        other = TcpDatagrams(theirs)
        assert other.timed().receive_stamped() == []
        now = time.monotonic()
        schedule = [(now + 0.01 * k, datagram) for k, datagram in enumerate(numbered(6))]
        channel.timed().send_at(schedule[:4])
        channel.timed().send_at(schedule[4:])
        arrived: list[tuple[float, bytes]] = []
        while len(arrived) < len(schedule):
            await trio.lowlevel.checkpoint()
            arrived += other.timed().receive_stamped()
        assert [datagram for _, datagram in arrived] == numbered(6)
        for (sent_at, _), (arrived_at, _) in zip(schedule, arrived, strict=True):
            assert sent_at <= arrived_at <= time.monotonic()
        await channel.aclose()
        await other.aclose()

    with_host(use)


def test_by_tcp_what_is_no_datagram_is_an_error_for_the_receiver() -> None:
    def take(unparsed: bytearray) -> bytes | None:
        if unparsed:
            raise ValueError("no datagram")
        return None

    async def use(host: LoopbackHost) -> None:
        sender, theirs = await by_tcp(host)
        channel = TcpDatagrams(theirs, take=take)
        channel.timed().receive_stamped()
        await sender.send(b"anything")
        while True:
            try:
                assert channel.timed().receive_stamped() == []
            except ValueError as error:
                assert str(error) == "no datagram"  # noqa: PT017 - it is raised at some time
                break
            await trio.lowlevel.checkpoint()
        await sender.aclose()
        await channel.aclose()

    with_host(use)


def test_forward_tcp_ends_with_its_host() -> None:
    async def use(client: LoopbackHost) -> None:
        async with LoopbackHost("server") as server:
            relay = await serve_udp_echo(server)
            port = await server.serve_tcp(0, lambda stream: forward_tcp(server, stream, relay))
            channel = TcpDatagrams(await client.open_tcp(port))
            await channel.send(b"hello")
            assert await channel.receive() == b"hello"
        with pytest.raises((trio.EndOfChannel, trio.BrokenResourceError)):
            await channel.receive()
        await channel.aclose()

    with_host(use)


def test_forward_tcp_serves_clients_side_by_side() -> None:
    async def use(host: LoopbackHost) -> None:
        relay = await serve_udp_echo(host)
        port = await host.serve_tcp(0, lambda stream: forward_tcp(host, stream, relay))
        first = TcpDatagrams(await host.open_tcp(port))
        second = TcpDatagrams(await host.open_tcp(port))
        async with first, second:
            for datagram in [b"", b"a", bytes(MAX_DATAGRAM_BYTES)]:
                await first.send(b"1" + datagram)
                await second.send(b"2" + datagram)
                assert await first.receive() == b"1" + datagram
                assert await second.receive() == b"2" + datagram
            await first.aclose()
            await second.send(b"still here")
            assert await second.receive() == b"still here"

    with_host(use)


def test_forward_tcp_serves_as_many_clients_as_there_are() -> None:
    async def use(host: LoopbackHost) -> None:
        relay = await serve_udp_echo(host)
        port = await host.serve_tcp(0, lambda stream: forward_tcp(host, stream, relay))
        clients = [TcpDatagrams(await host.open_tcp(port)) for _ in range(50)]
        for number, client in enumerate(clients):
            await client.send(b"%d" % number)
            assert await client.receive() == b"%d" % number
        for client in clients:
            await client.aclose()

    with_host(use)


def test_forward_tcp_survives_a_connection_that_is_reset() -> None:
    async def use(host: LoopbackHost) -> None:
        relay = await serve_udp_echo(host)
        done = trio.Event()

        async def forward(stream: trio.SocketStream) -> None:
            await forward_tcp(host, stream, relay)
            done.set()

        stream = await host.open_tcp(await host.serve_tcp(0, forward))
        stream.setsockopt(
            trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00"
        )
        await stream.send_all(frame_datagram(b"hello"))
        await stream.aclose()  # with RST
        await done.wait()

    with_host(use)
