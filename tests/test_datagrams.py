"""Datagrams over a stream, however it is cut, blocked or broken, and on to a relay."""

import socket
import struct
import time

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.datagrams import (
    DatagramStream,
    datagrams_over,
    forward_stream,
    frame_datagram,
    take_datagram,
)
from testbed.tcpdatagrams import QUEUE_DATAGRAMS, TcpDatagrams
from testbed.testing import LoopbackHost
from testbed.transport import MAX_DATAGRAM_BYTES
from tests.loopback import serve_udp_echo, with_host

DATAGRAMS = st.lists(st.binary(max_size=60), max_size=8)


class BlockedStream(trio.abc.Stream):
    """Takes nothing until `open` is set; breaks then if `broken`; remembers each write."""

    def __init__(self, *, broken: bool = False) -> None:
        self.open = trio.Event()
        self.broken = broken
        self.writes: list[bytes] = []

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.open.wait()
        if self.broken:
            raise trio.BrokenResourceError
        self.writes.append(bytes(data))

    async def wait_send_all_might_not_block(self) -> None: ...

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.sleep_forever()
        return b""

    async def aclose(self) -> None: ...


def taken(stream: bytes | bytearray) -> list[bytes]:
    unparsed = bytearray(stream)
    return list(iter(lambda: take_datagram(unparsed), None))


@settings(deadline=None)
@given(DATAGRAMS, st.data())
def test_datagrams_come_out_whole_however_the_stream_is_cut(
    datagrams: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(map(frame_datagram, datagrams))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    unparsed = bytearray()
    heard: list[bytes] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        unparsed += stream[start:end]
        while (datagram := take_datagram(unparsed)) is not None:
            heard.append(datagram)
    assert heard == datagrams
    assert not unparsed


def test_the_framing_is_that_of_pt_3() -> None:
    assert frame_datagram(b"abc") == b"\x00\x03abc"
    assert frame_datagram(b"") == b"\x00\x00"
    assert frame_datagram(bytes(0x1234))[:2] == b"\x12\x34"


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_what_is_not_taken_stays(stream: bytes) -> None:
    unparsed = bytearray(stream)
    heard = []
    while (datagram := take_datagram(unparsed)) is not None:
        heard.append(datagram)
    assert b"".join(map(frame_datagram, heard)) + unparsed == stream


@settings(max_examples=30, deadline=None)
@given(DATAGRAMS, st.integers(1, 7))
def test_a_datagram_stream_reassembles_from_any_chunks(
    datagrams: list[bytes], chunk_bytes: int
) -> None:
    async def use(host: LoopbackHost) -> None:
        ours, theirs = trio.testing.memory_stream_pair()
        stream = b"".join(map(frame_datagram, datagrams))
        channel = DatagramStream(ours, host)

        async def write() -> None:
            for at in range(0, len(stream), chunk_bytes):
                await theirs.send_all(stream[at : at + chunk_bytes])
                await trio.testing.wait_all_tasks_blocked()
            await theirs.send_eof()

        host.start_task(write)
        assert [datagram async for datagram in channel] == datagrams
        await channel.aclose()

    with_host(use)


@settings(max_examples=30, deadline=None)
@given(DATAGRAMS)
def test_what_a_datagram_stream_sends(datagrams: list[bytes]) -> None:
    async def use(host: LoopbackHost) -> None:
        stream = BlockedStream()
        stream.open.set()
        channel = DatagramStream(stream, host)
        for datagram in datagrams:
            await channel.send(datagram)
        await trio.testing.wait_all_tasks_blocked()
        assert taken(b"".join(stream.writes)) == datagrams
        assert channel.dropped == 0

    with_host(use)


def numbered(count: int, first: int = 0) -> list[bytes]:
    return [number.to_bytes(2, "big") for number in range(first, first + count)]


def test_a_blocked_stream_holds_a_queue_and_drops_the_newest() -> None:
    async def use(host: LoopbackHost) -> None:
        stream = BlockedStream()
        channel = DatagramStream(stream, host)
        await channel.send(b"in the stream")
        await trio.testing.wait_all_tasks_blocked()
        for datagram in numbered(QUEUE_DATAGRAMS + 7):
            await channel.send(datagram)  # never waits
        assert channel.dropped == 7
        stream.open.set()
        await trio.testing.wait_all_tasks_blocked()
        assert taken(b"".join(stream.writes)) == [b"in the stream", *numbered(QUEUE_DATAGRAMS)]
        assert len(stream.writes) == 2  # what waited together was written together
        await channel.send(b"again")
        await trio.testing.wait_all_tasks_blocked()
        assert stream.writes[-1] == frame_datagram(b"again")
        assert channel.dropped == 7

    with_host(use)


def test_after_a_write_failure_all_is_dropped_and_the_sender_goes_on() -> None:
    async def use(host: LoopbackHost) -> None:
        stream = BlockedStream(broken=True)
        channel = DatagramStream(stream, host)
        stream.open.set()
        await channel.send(b"lost")
        await trio.testing.wait_all_tasks_blocked()
        for datagram in numbered(5):
            await channel.send(datagram)
        assert stream.writes == []
        assert channel.dropped == 5

    with_host(use)


def test_sizes_at_the_limit_of_the_length_field() -> None:
    async def use(host: LoopbackHost) -> None:
        stream = BlockedStream()
        stream.open.set()
        channel = DatagramStream(stream, host)
        await channel.send(bytes(0xFFFF))
        with pytest.raises(ValueError, match="65536 bytes"):
            await channel.send(bytes(0x10000))
        await trio.testing.wait_all_tasks_blocked()
        assert taken(b"".join(stream.writes)) == [bytes(0xFFFF)]

    with_host(use)


def test_a_stream_that_ends_within_a_datagram_ends_the_channel() -> None:
    async def use(host: LoopbackHost) -> None:
        ours, theirs = trio.testing.memory_stream_pair()
        channel = DatagramStream(ours, host)
        await theirs.send_all(frame_datagram(b"whole") + b"\x00\x09half")
        await theirs.aclose()
        assert await channel.receive() == b"whole"
        with pytest.raises(trio.EndOfChannel):
            await channel.receive()

    with_host(use)


def test_a_closed_channel_says_so() -> None:
    async def use(host: LoopbackHost) -> None:
        ours, theirs = trio.testing.memory_stream_pair()
        channel = DatagramStream(ours, host)
        await channel.send(b"queued")
        await channel.aclose()
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.ClosedResourceError):
            await channel.send(b"late")
        with pytest.raises(trio.ClosedResourceError):
            await channel.receive()
        assert taken(await theirs.receive_some() or b"") in ([], [b"queued"])
        await channel.aclose()  # once more does nothing

    with_host(use)


async def by_tcp(host: LoopbackHost) -> tuple[TcpDatagrams, trio.SocketStream]:
    accepted, theirs = trio.open_memory_channel[trio.SocketStream](1)

    async def accept(stream: trio.abc.HalfCloseableStream) -> None:
        assert isinstance(stream, trio.SocketStream)
        accepted.send_nowait(stream)
        await trio.sleep_forever()

    ours = await host.open_tcp(await host.serve_tcp(0, accept))
    channel = datagrams_over(ours, host)
    assert isinstance(channel, TcpDatagrams)
    return channel, await theirs.receive()


def test_by_tcp_what_the_kernel_does_not_take_keeps_its_place() -> None:
    async def use(host: LoopbackHost) -> None:
        channel, theirs = await by_tcp(host)
        other = datagrams_over(theirs, host)
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


def test_by_tcp_the_end_and_a_reset_are_told() -> None:
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
        other = datagrams_over(theirs, host)
        assert isinstance(other, TcpDatagrams)
        assert other.receive_stamped() == []
        now = time.monotonic()
        schedule = [(now + 0.01 * k, datagram) for k, datagram in enumerate(numbered(6))]
        channel.send_at(schedule[:4])
        channel.send_at(schedule[4:])
        arrived: list[tuple[float, bytes]] = []
        while len(arrived) < len(schedule):
            await trio.lowlevel.checkpoint()
            arrived += other.receive_stamped()
        assert [datagram for _, datagram in arrived] == numbered(6)
        for (sent_at, _), (arrived_at, _) in zip(schedule, arrived, strict=True):
            assert sent_at <= arrived_at <= time.monotonic()
        await channel.aclose()
        await other.aclose()

    with_host(use)


def test_by_tcp_what_is_no_datagram_is_told_who_asks_for_them() -> None:
    def take(unparsed: bytearray) -> bytes | None:
        if unparsed:
            raise ValueError("no datagram")
        return None

    async def use(host: LoopbackHost) -> None:
        sender, theirs = await by_tcp(host)
        channel = datagrams_over(theirs, host, take=take)
        assert isinstance(channel, TcpDatagrams)
        channel.receive_stamped()
        await sender.send(b"anything")
        while True:
            try:
                assert channel.receive_stamped() == []
            except ValueError as error:
                assert str(error) == "no datagram"  # noqa: PT017 - it is raised at some time
                break
            await trio.lowlevel.checkpoint()
        await sender.aclose()
        await channel.aclose()

    with_host(use)


def test_forward_stream_ends_with_its_host() -> None:
    async def use(client: LoopbackHost) -> None:
        async with LoopbackHost("server") as server:
            relay = await serve_udp_echo(server)
            port = await server.serve_tcp(0, lambda stream: forward_stream(server, stream, relay))
            channel = datagrams_over(await client.open_tcp(port), client)
            await channel.send(b"hello")
            assert await channel.receive() == b"hello"
        with pytest.raises((trio.EndOfChannel, trio.BrokenResourceError)):
            await channel.receive()
        await channel.aclose()

    with_host(use)


def test_forward_stream_serves_clients_side_by_side() -> None:
    async def use(host: LoopbackHost) -> None:
        relay = await serve_udp_echo(host)
        port = await host.serve_tcp(0, lambda stream: forward_stream(host, stream, relay))
        first = datagrams_over(await host.open_tcp(port), host)
        second = datagrams_over(await host.open_tcp(port), host)
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


def test_forward_stream_serves_as_many_clients_as_there_are() -> None:
    async def use(host: LoopbackHost) -> None:
        relay = await serve_udp_echo(host)
        port = await host.serve_tcp(0, lambda stream: forward_stream(host, stream, relay))
        clients = [datagrams_over(await host.open_tcp(port), host) for _ in range(50)]
        for number, client in enumerate(clients):
            await client.send(b"%d" % number)
            assert await client.receive() == b"%d" % number
        for client in clients:
            await client.aclose()

    with_host(use)


def test_forward_stream_survives_a_connection_that_is_reset() -> None:
    async def use(host: LoopbackHost) -> None:
        relay = await serve_udp_echo(host)
        done = trio.Event()

        async def forward(stream: trio.abc.Stream) -> None:
            await forward_stream(host, stream, relay)
            done.set()

        stream = await host.open_tcp(await host.serve_tcp(0, forward))
        assert isinstance(stream, trio.SocketStream)
        stream.setsockopt(
            trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00"
        )
        await stream.send_all(frame_datagram(b"hello"))
        await stream.aclose()  # with RST
        await done.wait()

    with_host(use)
