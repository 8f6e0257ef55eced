"""The server side of Tor's Extended ORPort, by which a pluggable transport says who its client is.

A connection has two phases. First both sides prove that they know a cookie, which the server has
written to a file, without showing it: each sends a nonce and an HMAC over both nonces
(SAFE_COOKIE, the only type of authentication there is). Then the program sends commands: the
client's address, the transport's name, and DONE. Afterwards the stream is the client's.

Source: ext-orport-spec. This module imports hash functions, so a transport should import it only if
it needs its clients' addresses.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from random import Random
from typing import NamedTuple

import trio

from testbed.transport.interface import Address, Host
from testbed.transport.pt.encoding import ExtendedOrPort
from testbed.transport.pt.exactly import EarlyEndError, receive_exactly
from testbed.transport.pt.replies import parse_address

COOKIE_HEADER = b"! Extended ORPort Auth Cookie !\x0a"
SERVER_TO_CLIENT = b"ExtORPort authentication server-to-client hash"
CLIENT_TO_SERVER = b"ExtORPort authentication client-to-server hash"
SAFE_COOKIE = 1
NONCE_BYTES = 32

DONE = 0x0000
USERADDR = 0x0001
TRANSPORT = 0x0002
OKAY = 0x1000
DENY = 0x1001


class ExtendedOrPortError(Exception):
    """A client of the Extended ORPort failed to authenticate or violated the protocol."""


class Peer(NamedTuple):
    """What a pluggable transport has said about one connection; None: it did not say."""

    address: Address | None
    transport: str | None


async def serve(
    host: Host, handler: Callable[[Peer, trio.SocketStream], Awaitable[object]]
) -> ExtendedOrPort:
    """Listen on a new Extended ORPort until the host closes; return it for `start_server`.

    Each connection that authenticates gets a `handler` task, which owns the stream; others are
    closed. The cookie is a file in the host's `state_dir`.
    """
    cookie = host.random.randbytes(32)
    cookie_file = host.state_dir / "extended_orport_auth_cookie"
    await trio.Path(cookie_file).write_bytes(COOKIE_HEADER + cookie)

    async def serve_one(stream: trio.SocketStream) -> None:
        async with stream:
            try:
                peer = await accept(stream, cookie, host.random)
            except (ExtendedOrPortError, EarlyEndError, trio.BrokenResourceError):
                return
            await handler(peer, stream)

    return ExtendedOrPort(await host.serve_tcp(0, serve_one), cookie_file)


async def accept(stream: trio.abc.Stream, cookie: bytes, random: Random) -> Peer:
    """Authenticate a client that knows the cookie (32 bytes); return what it says about its peer.

    Afterwards the stream carries the connection.

    Raises:
        ExtendedOrPortError: A hash is wrong or a command is malformed.
        EarlyEndError: The client closed the stream.
        trio.BrokenResourceError: The stream broke.
    """
    await _authenticate(stream, cookie, random.randbytes(NONCE_BYTES))
    address: Address | None = None
    transport: str | None = None
    while True:
        command, body = await receive_command(stream)
        try:
            if command == DONE:
                await stream.send_all(frame_command(OKAY))
                return Peer(address, transport)
            if command == USERADDR:
                address = parse_address(body.decode("ascii"))
            elif command == TRANSPORT:
                transport = body.decode("ascii")
        except ValueError as error:
            raise ExtendedOrPortError(f"malformed command {command:#06x}: {error}") from error


async def _authenticate(stream: trio.abc.Stream, cookie: bytes, server_nonce: bytes) -> None:
    await stream.send_all(bytes((SAFE_COOKIE, 0)))
    (chosen,) = await receive_exactly(stream, 1, "the authentication type")
    if chosen != SAFE_COOKIE:
        raise ExtendedOrPortError(f"the client chose authentication type {chosen}, not SAFE_COOKIE")
    client_nonce = await receive_exactly(stream, NONCE_BYTES, "the client's nonce")
    server_hash = safe_cookie_hash(cookie, SERVER_TO_CLIENT, client_nonce, server_nonce)
    await stream.send_all(server_hash + server_nonce)
    client_hash = await receive_exactly(stream, 32, "the client's hash")
    wanted = safe_cookie_hash(cookie, CLIENT_TO_SERVER, client_nonce, server_nonce)
    if not hmac.compare_digest(client_hash, wanted):
        await stream.send_all(b"\x00")
        raise ExtendedOrPortError("the client does not know the cookie")
    await stream.send_all(b"\x01")


def safe_cookie_hash(
    cookie: bytes, direction: bytes, client_nonce: bytes, server_nonce: bytes
) -> bytes:
    """Return the hash that proves knowledge of the cookie, in one direction."""
    return hmac.digest(cookie, direction + client_nonce + server_nonce, "sha256")


def frame_command(command: int, body: bytes = b"") -> bytes:
    """Return one command as bytes: its code and its body's length, 2 bytes each, and the body."""
    return command.to_bytes(2, "big") + len(body).to_bytes(2, "big") + body


async def receive_command(stream: trio.abc.ReceiveStream) -> tuple[int, bytes]:
    """Wait for one command; return its code and its body.

    Raises:
        EarlyEndError: The stream ended.
    """
    header = await receive_exactly(stream, 4, "a command")
    length = int.from_bytes(header[2:], "big")
    return int.from_bytes(header[:2], "big"), await receive_exactly(stream, length, "a command")
