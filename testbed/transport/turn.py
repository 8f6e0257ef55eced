"""The client's side of TURN (RFC 8656): an allocation and a channel to one peer; runs no server.

Over UDP a datagram is one STUN message or one ChannelData; in a stream `frame_unit` and
`take_unit` delimit them.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import IPv4Address

import trio

from testbed.transport import stun
from testbed.transport.interface import Address, Host, TransportError

ALLOCATE, REFRESH, CHANNEL_BIND = 0x0003, 0x0004, 0x0009
"""Requests (RFC 8656, 17)."""
CHANNEL_NUMBER, XOR_PEER_ADDRESS, REQUESTED_TRANSPORT = 0x000C, 0x0012, 0x0019
"""Attributes (RFC 8656, 18)."""

ANSWER_S = 25.0
"""How long a server may take to grant an allocation and a channel."""
_RTO_S = 0.5
"""Until a request is sent again over UDP, the first time; then twice as long (RFC 8489, 6.2.1)."""
_KEEP_EVERY_S = 100.0
"""A third of a permission's life (RFC 8656, 9), so that no single request matters."""
_CHANNEL = (0x4000).to_bytes(2, "big")
_UDP = bytes([17, 0, 0, 0])
_UNAUTHENTICATED, _STALE_NONCE = 401, 438
_CHANNEL_HEADER_BYTES = 4

Attributes = Sequence[tuple[int, bytes]]


def frame_unit(unit: bytes) -> bytes:
    """Give a message or ChannelData as it stands in a stream: padded to 4 bytes."""
    return unit + bytes(-len(unit) % 4)


def take_unit(unparsed: bytearray) -> bytes | None:
    """Take the first whole message or ChannelData off the front of a stream's bytes.

    None: it is not yet whole. BrokenResourceError: no such thing begins like this.
    """
    if len(unparsed) < _CHANNEL_HEADER_BYTES:
        return None
    kind = unparsed[0] >> 6
    if kind > 1:
        raise trio.BrokenResourceError("the stream has something else than TURN")
    head = _CHANNEL_HEADER_BYTES if kind else stun.HEADER_BYTES
    end = head + int.from_bytes(unparsed[2:4], "big")
    padded = end + -end % 4
    if len(unparsed) < padded:
        return None
    unit = bytes(unparsed[:end])
    del unparsed[:padded]
    return unit


async def open_channel(
    host: Host,
    link: trio.abc.Channel[bytes],
    peer: Address,
    credentials: tuple[str, str],
    *,
    reliable: bool,
) -> trio.abc.Channel[bytes]:
    """Allocate an address at the TURN server that `link` leads to, and bind a channel to `peer`.

    `credentials` are user name and password. Over a `reliable` link nothing is sent twice. The link
    is closed with the channel, or if there is none. TransportError: the server refuses, closes or
    does not answer.
    """
    channel = _TurnChannel(host, link, peer, credentials)
    try:
        await channel.open(math.inf if reliable else _RTO_S)
    except (trio.EndOfChannel, trio.BrokenResourceError):
        await trio.aclose_forcefully(link)
        raise TransportError("the TURN server closed the stream") from None
    except BaseException:
        await trio.aclose_forcefully(link)
        raise
    host.start_task(channel.keep)
    return channel


class _TurnChannel(trio.abc.Channel[bytes]):
    def __init__(
        self, host: Host, link: trio.abc.Channel[bytes], peer: Address, credentials: tuple[str, str]
    ) -> None:
        self._random, self._link = host.random, link
        self._binding = (
            (CHANNEL_NUMBER, _CHANNEL + bytes(2)),
            (XOR_PEER_ADDRESS, _xor_address(peer)),
        )
        self._username, self._password = credentials
        self._challenge: Attributes = ()
        self._key = b""

    async def open(self, rto_s: float) -> None:
        with trio.move_on_after(ANSWER_S):
            await self._ask(ALLOCATE, [(REQUESTED_TRANSPORT, _UDP)], rto_s)
            await self._ask(CHANNEL_BIND, self._binding, rto_s)
            return
        raise TransportError(f"the TURN server did not answer within {ANSWER_S:g} s")

    async def keep(self) -> None:
        """Refresh allocation, permission and channel until closed; the answers do not matter."""
        with suppress(trio.ClosedResourceError, trio.BrokenResourceError):
            while True:
                await trio.sleep(_KEEP_EVERY_S)
                await self._link.send(stun.encode(self._request(REFRESH, ()), self._key))
                await self._link.send(
                    stun.encode(self._request(CHANNEL_BIND, self._binding), self._key)
                )

    async def send(self, value: bytes) -> None:
        await self._link.send(_CHANNEL + len(value).to_bytes(2, "big") + value)

    async def receive(self) -> bytes:
        while True:
            unit = await self._link.receive()
            if unit[:2] == _CHANNEL:
                end = _CHANNEL_HEADER_BYTES + int.from_bytes(unit[2:4], "big")
                return unit[_CHANNEL_HEADER_BYTES:end]

    async def aclose(self) -> None:
        """Close; the server ends the allocation when its time is over."""
        await self._link.aclose()

    async def _ask(self, kind: int, attributes: Attributes, rto_s: float) -> None:
        """Ask until it is granted. The first answer has what credentials are made of."""
        while True:
            answer = await self._answer(self._request(kind, attributes), rto_s)
            if answer.kind == kind + stun.SUCCESS:
                return
            error = answer.attribute(stun.ERROR_CODE).ljust(4, b"\0")
            code, reason = error[2] * 100 + error[3], error[4:].decode(errors="replace")
            if code != _STALE_NONCE and (code != _UNAUTHENTICATED or self._key):
                raise TransportError(f"the TURN server refused: {code} {reason}")
            realm, nonce = answer.attribute(stun.REALM), answer.attribute(stun.NONCE)
            user = (stun.USERNAME, self._username.encode())
            self._challenge = (user, (stun.REALM, realm), (stun.NONCE, nonce))
            self._key = stun.long_term_key(self._username, realm.decode(), self._password)

    def _request(self, kind: int, attributes: Attributes) -> stun.Message:
        transaction = self._random.randbytes(12)
        return stun.Message(kind, transaction, (*attributes, *self._challenge))

    async def _answer(self, request: stun.Message, rto_s: float) -> stun.Message:
        while True:
            await self._link.send(stun.encode(request, self._key))
            with trio.move_on_after(rto_s):
                while True:
                    datagram = await self._link.receive()
                    with suppress(ValueError):
                        answer = stun.decode(datagram)
                        # An error cannot be signed with a key that the server does not know.
                        granted = answer.kind == request.kind + stun.SUCCESS
                        trusted = not granted or stun.is_signed(datagram, self._key)
                        if answer.transaction == request.transaction and trusted:
                            return answer
            rto_s *= 2


def _xor_address(address: Address) -> bytes:
    """Write an address as an attribute's value (RFC 8489, 14.2)."""
    xored = int(IPv4Address(address.host)) ^ stun.COOKIE
    return struct.pack("!HHI", 1, address.port ^ (stun.COOKIE >> 16), xored)
