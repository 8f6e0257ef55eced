"""The Extended ORPort against a client written from the specification's other side."""

from collections.abc import Awaitable, Callable
from random import Random

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from testbed.transport.interface import Address
from testbed.transport.loopback import LoopbackHost
from testbed.transport.pt import extorport
from testbed.transport.pt.exactly import EarlyEndError, receive_exactly
from testbed.transport.pt.extorport import ExtendedOrPortError, Peer

COOKIE = bytes(range(32))
NONCE = b"n" * 32

Client = Callable[[trio.abc.Stream], Awaitable[None]]


def accept(client: Client) -> Peer:
    """Run `accept` against a client."""

    ours, theirs = trio.testing.memory_stream_pair()
    outcome: list[Peer | Exception] = []

    async def run_client() -> None:
        async with theirs:
            await client(theirs)

    async def run_server() -> None:
        async with ours:
            try:
                outcome.append(await extorport.accept(ours, COOKIE, Random(0)))
            except Exception as error:
                outcome.append(error)

    async def main() -> None:
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run_client)
                nursery.start_soon(run_server)

    trio.run(main)
    (result,) = outcome
    if isinstance(result, Exception):
        raise result
    return result


async def authenticate(stream: trio.abc.Stream, cookie: bytes = COOKIE) -> None:
    assert await receive_exactly(stream, 2, "types") == b"\x01\x00"
    await stream.send_all(b"\x01" + NONCE)
    server_hash = await receive_exactly(stream, 32, "hash")
    server_nonce = await receive_exactly(stream, 32, "nonce")
    assert server_hash == extorport.safe_cookie_hash(
        COOKIE, extorport.SERVER_TO_CLIENT, NONCE, server_nonce
    )
    await stream.send_all(
        extorport.safe_cookie_hash(cookie, extorport.CLIENT_TO_SERVER, NONCE, server_nonce)
    )


def say(*commands: tuple[int, bytes]) -> Client:
    async def client(stream: trio.abc.Stream) -> None:
        await authenticate(stream)
        assert await receive_exactly(stream, 1, "status") == b"\x01"
        for command, body in commands:
            await stream.send_all(extorport.frame_command(command, body))
        assert await extorport.receive_command(stream) == (extorport.OKAY, b"")

    return client


def test_address_and_transport_of_a_peer_are_returned() -> None:
    peer = accept(say((1, b"198.51.100.7:4711"), (2, b"obfs4"), (0, b"")))
    assert peer == Peer(Address("198.51.100.7", 4711), "obfs4")


def test_a_peer_may_say_nothing_about_itself() -> None:
    assert accept(say((0, b""))) == Peer(None, None)


def test_ipv6_addresses_are_read_and_unknown_commands_ignored() -> None:
    peer = accept(say((0x77, b"?" * 300), (1, b"[2001:db8::1]:5"), (0, b"")))
    assert peer == Peer(Address("2001:db8::1", 5), None)


def test_a_client_without_the_cookie_is_refused() -> None:
    async def client(stream: trio.abc.Stream) -> None:
        await authenticate(stream, cookie=bytes(32))
        assert await stream.receive_some() == b"\x00"
        assert await stream.receive_some() == b""

    with pytest.raises(ExtendedOrPortError, match="does not know the cookie"):
        accept(client)


def test_another_authentication_type_is_refused() -> None:
    async def client(stream: trio.abc.Stream) -> None:
        await receive_exactly(stream, 2, "types")
        await stream.send_all(b"\x07")

    with pytest.raises(ExtendedOrPortError, match="type 7"):
        accept(client)


@pytest.mark.parametrize("body", [b"nonsense", b"1.2.3.4", b"\xff:1"])
def test_a_malformed_address_is_an_error(body: bytes) -> None:
    async def client(stream: trio.abc.Stream) -> None:
        await authenticate(stream)
        await stream.send_all(extorport.frame_command(extorport.USERADDR, body))
        while await stream.receive_some():
            pass

    with pytest.raises(ExtendedOrPortError, match="malformed command 0x0001"):
        accept(client)


def test_a_client_that_closes_the_stream_is_an_error() -> None:
    async def client(stream: trio.abc.Stream) -> None:
        await stream.send_all(b"\x01" + NONCE[:5])

    with pytest.raises((EarlyEndError, trio.BrokenResourceError)):
        accept(client)


@given(st.integers(0, 0xFFFF), st.binary(max_size=300), st.binary(max_size=5))
def test_commands_are_received_as_they_were_framed(command: int, body: bytes, after: bytes) -> None:
    async def main() -> None:
        ours, theirs = trio.testing.memory_stream_pair()
        await ours.send_all(extorport.frame_command(command, body) + after)
        await ours.send_eof()
        assert await extorport.receive_command(theirs) == (command, body)
        assert await theirs.receive_some() == after

    trio.run(main)


def test_only_who_reads_the_cookie_file_gets_in() -> None:
    async def handler(peer: Peer, stream: trio.SocketStream) -> None:
        raise AssertionError(f"{peer} did not authenticate")

    async def main() -> None:
        async with LoopbackHost() as host:
            port = await extorport.serve(host, handler)
            cookie = await trio.Path(port.cookie_file).read_bytes()
            assert cookie[:32] == b"! Extended ORPort Auth Cookie !\n"
            assert len(cookie) == 64
            stream = await host.open_tcp(port.address)
            async with stream:
                await stream.send_all(b"\x01" + bytes(64))
                with trio.fail_after(5):
                    while await stream.receive_some():
                        pass

    trio.run(main)
