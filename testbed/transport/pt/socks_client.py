"""The client side of SOCKS4a and SOCKS5, as pluggable transports use it: CONNECT on an open stream.

The arguments of a connection travel as the user name and password of SOCKS5, or the USERID of
SOCKS4. Sources: RFC 1928, RFC 1929, the SOCKS4 and SOCKS4a memos, pt-spec 1 section 3.5.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping

import trio

from testbed.transport.interface import Address
from testbed.transport.pt.encoding import socks4_userid, socks5_credentials
from testbed.transport.pt.exactly import receive_exactly

NO_AUTHENTICATION = 0x00
USERNAME_PASSWORD = 0x02
NO_ACCEPTABLE_METHODS = 0xFF

SOCKS5_REPLIES = {
    0x00: "succeeded",
    0x01: "general SOCKS server failure",
    0x02: "connection not allowed by ruleset",
    0x03: "network unreachable",
    0x04: "host unreachable",
    0x05: "connection refused",
    0x06: "TTL expired",
    0x07: "command not supported",
    0x08: "address type not supported",
}
"""RFC 1928, section 6."""

SOCKS4_REPLIES = {
    0x5A: "request granted",
    0x5B: "request rejected or failed",
    0x5C: "rejected: no identd on the client",
    0x5D: "rejected: identd and the client name different users",
}
"""Of the SOCKS4 memo's section on CONNECT."""


class SocksError(Exception):
    """The proxy refused the connection or violated the protocol; the message names the reply."""


async def connect(
    stream: trio.abc.Stream, version: int, target: Address, args: Mapping[str, str]
) -> None:
    """Ask a SOCKS proxy of version 4 or 5 for `target`, with a transport's arguments.

    Afterwards the stream carries the connection, none of which has been read.

    Raises:
        SocksError: The proxy refused.
        EarlyEndError: The proxy closed the stream.
        ValueError: The arguments or the target cannot be encoded.
        trio.BrokenResourceError: The stream broke.
    """
    await (_connect4 if version == 4 else _connect5)(stream, target, args)


async def _connect5(stream: trio.abc.Stream, target: Address, args: Mapping[str, str]) -> None:
    username, password = socks5_credentials(args)
    request = b"\x05\x01\x00" + _socks5_address(target)
    method = USERNAME_PASSWORD if args else NO_AUTHENTICATION
    await stream.send_all(bytes((5, 1, method)))
    version, selected = await receive_exactly(stream, 2, "the method selection")
    _check_version(version, 5, "the method selection")
    if selected != method:
        wanted = "arguments (username and password)" if args else "a client without arguments"
        named = "no acceptable methods" if selected == NO_ACCEPTABLE_METHODS else "another method"
        raise SocksError(f"the proxy does not accept {wanted}: {named} ({selected:#04x})")
    if method == USERNAME_PASSWORD:
        await stream.send_all(
            b"\x01" + bytes((len(username),)) + username + bytes((len(password),)) + password
        )
        version, status = await receive_exactly(stream, 2, "the answer to the arguments")
        _check_version(version, 1, "the answer to the arguments")
        if status != 0:
            raise SocksError(f"the proxy rejects the arguments (status {status:#04x})")
    await stream.send_all(request)
    await _receive_socks5_reply(stream)


async def _receive_socks5_reply(stream: trio.abc.Stream) -> None:
    version, code, _, address_type = await receive_exactly(stream, 4, "the reply")
    _check_version(version, 5, "the reply")
    if code != 0:
        raise SocksError(f"{SOCKS5_REPLIES.get(code, 'unassigned reply')} (reply {code:#04x})")
    match address_type:
        case 1:
            length = 4
        case 3:
            (length,) = await receive_exactly(stream, 1, "the reply")
        case 4:
            length = 16
        case _:
            raise SocksError(f"the reply has an address of unknown type {address_type:#04x}")
    await receive_exactly(stream, length + 2, "the reply")


async def _connect4(stream: trio.abc.Stream, target: Address, args: Mapping[str, str]) -> None:
    port, userid = target.port.to_bytes(2, "big"), socks4_userid(args)
    try:
        address, name = socket.inet_pton(socket.AF_INET, target.host), b""
    except (OSError, ValueError):
        if ":" in target.host:
            raise SocksError(f"SOCKS4 cannot carry the IPv6 address {target.host}") from None
        address, name = b"\0\0\0\x01", target.host.encode("idna") + b"\0"  # SOCKS4a
    await stream.send_all(b"\x04\x01" + port + address + userid + b"\0" + name)
    version, code, *_ = await receive_exactly(stream, 8, "the reply")
    _check_version(version, 0, "the reply")
    if code != 0x5A:
        raise SocksError(f"{SOCKS4_REPLIES.get(code, 'unassigned reply')} (reply {code:#04x})")


def _socks5_address(target: Address) -> bytes:
    port = target.port.to_bytes(2, "big")
    for family, address_type in ((socket.AF_INET, b"\x01"), (socket.AF_INET6, b"\x04")):
        try:
            return address_type + socket.inet_pton(family, target.host) + port
        except (OSError, ValueError):
            continue
    name = target.host.encode("idna")
    return b"\x03" + bytes((len(name),)) + name + port


def _check_version(version: int, wanted: int, where: str) -> None:
    if version != wanted:
        raise SocksError(
            f"the proxy does not speak SOCKS: {where} begins with {version:#04x}, not {wanted:#04x}"
        )
