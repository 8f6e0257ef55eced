"""The real obfs4proxy on loopback, both ends: bytes both ways, and its own error messages."""

import hashlib
from collections.abc import Awaitable, Callable
from random import Random

import pytest
import trio

from testbed.transport import pt
from testbed.transport.interface import Address, ServerInfo, TransportError
from testbed.transport.loopback import LoopbackHost
from testbed.transport.pt import extorport

ARGV = ["obfs4proxy"]
ANYWHERE = Address("127.0.0.1", 0)
NOWHERE = Address("127.0.0.1", 9)


def with_hosts(use: Callable[[LoopbackHost, LoopbackHost], Awaitable[None]]) -> None:
    async def main() -> None:
        with trio.fail_after(15):
            async with LoopbackHost("bridge") as bridge, LoopbackHost("caller") as caller:
                await use(bridge, caller)

    trio.run(main)


async def answer_with_digest(stream: trio.SocketStream) -> None:
    """Read a length (8 bytes) and so many bytes; answer with their SHA-256, again and again."""
    async with stream:
        unread = bytearray()
        async for chunk in stream:
            unread += chunk
            while len(unread) >= 8 and len(unread) >= 8 + int.from_bytes(unread[:8], "big"):
                end = 8 + int.from_bytes(unread[:8], "big")
                await stream.send_all(hashlib.sha256(unread[8:end]).digest())
                del unread[:end]


async def check_digests(stream: trio.abc.Stream) -> None:
    random = Random(1)
    for size in (0, 1, 1448, 70_000):
        payload = random.randbytes(size)
        await stream.send_all(size.to_bytes(8, "big") + payload)
        digest = b""
        while len(digest) < 32:
            digest += await stream.receive_some()
        assert digest == hashlib.sha256(payload).digest()


@pytest.mark.parametrize("iat_mode", ["0", "1"])
def test_a_pair_carries_bytes_both_ways(iat_mode: str) -> None:
    async def use(bridge: LoopbackHost, caller: LoopbackHost) -> None:
        orport = await bridge.serve_tcp(0, answer_with_digest)
        options = {"iat-mode": iat_mode}
        server = await pt.start_server(
            bridge, ARGV, "obfs4", listen=ANYWHERE, orport=orport, options=options
        )
        assert server.address.port not in (0, orport.port)
        assert server.args["iat-mode"] == iat_mode
        client = await pt.start_client(caller, ARGV, "obfs4")
        async with await client.open_stream(server) as first:
            await check_digests(first)
            async with await client.open_stream(server) as second:
                await check_digests(second)

    with_hosts(use)


def test_the_extended_orport_says_where_the_client_is() -> None:
    peers: list[extorport.Peer] = []

    async def handler(peer: extorport.Peer, stream: trio.SocketStream) -> None:
        peers.append(peer)
        await answer_with_digest(stream)

    async def use(bridge: LoopbackHost, caller: LoopbackHost) -> None:
        orport = await extorport.serve(bridge, handler)
        server = await pt.start_server(bridge, ARGV, "obfs4", listen=ANYWHERE, orport=orport)
        client = await pt.start_client(caller, ARGV, "obfs4")
        async with await client.open_stream(server) as stream:
            await check_digests(stream)

    with_hosts(use)
    (peer,) = peers
    assert peer.transport == "obfs4"
    assert peer.address is not None
    assert peer.address.host == "127.0.0.1"


def test_a_server_keeps_its_keys_in_the_state_folder() -> None:
    async def use(bridge: LoopbackHost, caller: LoopbackHost) -> None:
        del caller
        first = await pt.start_server(bridge, ARGV, "obfs4", listen=ANYWHERE, orport=NOWHERE)
        again = await pt.start_server(bridge, ARGV, "obfs4", listen=ANYWHERE, orport=NOWHERE)
        assert first.args == again.args
        assert (bridge.state_dir / "obfs4-server" / "obfs4_state.json").exists()

    with_hosts(use)


def client_error(**options: str) -> str:
    async def use(bridge: LoopbackHost, caller: LoopbackHost) -> None:
        del bridge
        await pt.start_client(caller, ARGV, options.pop("name", "obfs4"), **options)  # type: ignore[arg-type]

    with pytest.raises(TransportError) as caught:
        with_hosts(use)
    return str(caught.value)


def server_error(name: str = "obfs4", listen: Address = ANYWHERE, iat_mode: str = "0") -> str:
    async def use(bridge: LoopbackHost, caller: LoopbackHost) -> None:
        del caller
        await pt.start_server(
            bridge, ARGV, name, listen=listen, orport=NOWHERE, options={"iat-mode": iat_mode}
        )

    with pytest.raises(TransportError) as caught:
        with_hosts(use)
    return str(caught.value)


@pytest.mark.parametrize("attempt", range(3))
def test_a_transport_that_the_client_lacks_is_an_error(attempt: int) -> None:
    assert client_error(name="nosuch").startswith(
        "obfs4proxy (client of nosuch) does not offer the transport: "
        "CMETHOD-ERROR: no such transport is supported"
    )


def test_a_transport_that_the_server_lacks_is_an_error() -> None:
    assert "(server of nosuch) does not offer the transport: SMETHOD" in server_error("nosuch")


def test_a_proxy_that_is_given_by_name_is_an_error() -> None:
    message = client_error(proxy="socks5://host.example:1")
    assert "PROXY-ERROR: proxy URI has invalid host: not an IP" in message


def test_an_option_that_the_server_rejects_is_an_error() -> None:
    assert "SMETHOD-ERROR: invalid iat-mode '9'" in server_error(iat_mode="9")


def test_an_address_that_the_node_lacks_is_an_error() -> None:
    message = server_error(listen=Address("192.0.2.1", 4444))
    assert "SMETHOD-ERROR: listen tcp 192.0.2.1:4444: bind: cannot assign" in message


def refusal_of(server: ServerInfo, **options: str) -> str:
    async def use(bridge: LoopbackHost, caller: LoopbackHost) -> None:
        del bridge
        client = await pt.start_client(caller, ARGV, "obfs4", **options)  # type: ignore[arg-type]
        await client.open_stream(server)

    with pytest.raises(TransportError) as caught:
        with_hosts(use)
    return str(caught.value)


CERT = "Yd+GIPdjiL4r5YikEq0ktI6Hb3XMMPD0utfDeeOmmC4jl7IlhPEuE5DfofScvCR0gv8GCw"


def test_a_stream_to_nobody_is_an_error() -> None:
    message = refusal_of(ServerInfo(NOWHERE, {"cert": CERT, "iat-mode": "0"}))
    assert message == (
        "obfs4proxy (client of obfs4) opened no stream to 127.0.0.1:9: "
        "general SOCKS server failure (reply 0x01)"  # it does not tell refused from unreachable
    )


def test_arguments_that_the_client_rejects_are_an_error() -> None:
    message = refusal_of(ServerInfo(NOWHERE, {"cert": "bad", "iat-mode": "0"}))
    assert "general SOCKS server failure" in message


def test_a_proxy_that_does_not_exist_is_an_error() -> None:
    server = ServerInfo(Address("127.0.0.1", 10), {"cert": CERT, "iat-mode": "0"})
    message = refusal_of(server, proxy="socks5://127.0.0.1:9")
    assert "opened no stream to 127.0.0.1:10: " in message


def test_a_server_that_closes_the_connection_is_an_error() -> None:
    async def hang_up(stream: trio.SocketStream) -> None:
        await stream.aclose()

    async def use(bridge: LoopbackHost, caller: LoopbackHost) -> None:
        address = await bridge.serve_tcp(0, hang_up)
        client = await pt.start_client(caller, ARGV, "obfs4")
        await client.open_stream(ServerInfo(address, {"cert": CERT, "iat-mode": "0"}))

    with pytest.raises(TransportError, match="opened no stream to"):
        with_hosts(use)
