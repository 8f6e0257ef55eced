"""Datagrams over a stream, however it is cut, blocked or broken."""

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.transport.channels import StreamDatagrams
from testbed.transport.framing import frame_datagram, take_datagram
from testbed.transport.loopback import LoopbackHost
from testbed.transport.tcp_datagrams import QUEUE_DATAGRAMS
from tests.loopback import with_host

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
        channel = StreamDatagrams(ours, host)

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
        channel = StreamDatagrams(stream, host)
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
        channel = StreamDatagrams(stream, host)
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
        channel = StreamDatagrams(stream, host)
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
        channel = StreamDatagrams(stream, host)
        await channel.send(bytes(0xFFFF))
        with pytest.raises(ValueError, match="65536 bytes"):
            await channel.send(bytes(0x10000))
        await trio.testing.wait_all_tasks_blocked()
        assert taken(b"".join(stream.writes)) == [bytes(0xFFFF)]

    with_host(use)


def test_a_stream_that_ends_within_a_datagram_ends_the_channel() -> None:
    async def use(host: LoopbackHost) -> None:
        ours, theirs = trio.testing.memory_stream_pair()
        channel = StreamDatagrams(ours, host)
        await theirs.send_all(frame_datagram(b"whole") + b"\x00\x09half")
        await theirs.aclose()
        assert await channel.receive() == b"whole"
        with pytest.raises(trio.EndOfChannel):
            await channel.receive()

    with_host(use)


def test_a_closed_channel_says_so() -> None:
    async def use(host: LoopbackHost) -> None:
        ours, theirs = trio.testing.memory_stream_pair()
        channel = StreamDatagrams(ours, host)
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
