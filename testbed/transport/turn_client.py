"""The client's side of TURN (RFC 8656): one allocation, and a channel to one peer.

A client asks the server for an address of its own (Allocate), then for a number that stands for its
peer (ChannelBind). From then on it exchanges ChannelData with the server: that number, a length,
and the payload. The server refuses the first request with a realm and a nonce, from which the key
of the following ones is made (RFC 8489, 9.2).

Over UDP, a datagram is one STUN message or one ChannelData. In a stream, `frame_unit` and
`take_unit` delimit these units.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress

import trio

from testbed.transport import stun_messages as stun
from testbed.transport.interface import Address, Host, TransportError

ANSWER_S = 25.0
"""How long a server may take to grant an allocation and a channel."""
_RTO_S = 0.5
"""After which time an unanswered request is first repeated over UDP; then twice as long each time
(RFC 8489, 6.2.1)."""
_KEEP_EVERY_S = 100.0
"""A third of a permission's life (RFC 8656, 9), so that no single request matters."""
_CHANNEL = (0x4000).to_bytes(2, "big")
"""The lowest number that a channel may have (RFC 8656, 12)."""
_UDP = bytes([17, 0, 0, 0])
_UNAUTHENTICATED, _STALE_NONCE = 401, 438
_CHANNEL_HEADER_BYTES = 4

Attributes = Sequence[tuple[int, bytes]]


def frame_unit(unit: bytes) -> bytes:
    """Return a message or ChannelData as it stands in a stream: padded to 4 bytes."""
    return unit + bytes(-len(unit) % 4)


def take_unit(unparsed: bytearray) -> bytes | None:
    """Remove and return the first whole message or ChannelData of a stream's bytes.

    None: it is not yet whole.

    Raises:
        trio.BrokenResourceError: The stream carries something other than TURN.
    """
    if len(unparsed) < _CHANNEL_HEADER_BYTES:
        return None
    # The first two bits tell them apart: 00 a STUN message, 01 ChannelData (RFC 8656, 12).
    kind = unparsed[0] >> 6
    if kind > 1:
        raise trio.BrokenResourceError("the stream carries something other than TURN")
    head = _CHANNEL_HEADER_BYTES if kind else stun.HEADER_BYTES
    end = head + int.from_bytes(unparsed[2:4], "big")
    padded = end + -end % 4
    if len(unparsed) < padded:
        return None
    unit = bytes(unparsed[:end])
    del unparsed[:padded]
    return unit


def channel_data(unit: bytes) -> bytes:
    """Return the payload of a ChannelData, whose padding is left out."""
    return unit[_CHANNEL_HEADER_BYTES : _CHANNEL_HEADER_BYTES + int.from_bytes(unit[2:4], "big")]


async def open_channel(
    host: Host,
    link: trio.abc.Channel[bytes],
    peer: Address,
    credentials: tuple[str, str],
    *,
    reliable: bool,
) -> trio.abc.Channel[bytes]:
    """Allocate an address at the TURN server that `link` leads to, and bind a channel to `peer`.

    `credentials` are a user name and a password. Over a `reliable` link nothing is sent twice. The
    link is closed with the channel, or at once if the server grants none.

    Raises:
        TransportError: The server refuses, closes the stream or does not answer.
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
            (stun.CHANNEL_NUMBER, _CHANNEL + bytes(2)),
            (stun.XOR_PEER_ADDRESS, stun.xor_address(peer)),
        )
        self._username, self._password = credentials
        self._challenge: Attributes = ()
        self._key = b""

    async def open(self, rto_s: float) -> None:
        with trio.move_on_after(ANSWER_S):
            await self._request(stun.ALLOCATE, [(stun.REQUESTED_TRANSPORT, _UDP)], rto_s)
            await self._request(stun.CHANNEL_BIND, self._binding, rto_s)
            return
        raise TransportError(f"the TURN server did not answer within {ANSWER_S:g} s")

    async def keep(self) -> None:
        """Refresh allocation, permission and channel until closed; the answers do not matter."""
        with suppress(trio.ClosedResourceError, trio.BrokenResourceError):
            while True:
                await trio.sleep(_KEEP_EVERY_S)
                for kind, attributes in ((stun.REFRESH, ()), (stun.CHANNEL_BIND, self._binding)):
                    message = self._message(kind, attributes)
                    await self._link.send(stun.encode(message, self._key))

    async def send(self, value: bytes) -> None:
        await self._link.send(_CHANNEL + len(value).to_bytes(2, "big") + value)

    async def receive(self) -> bytes:
        while True:
            unit = await self._link.receive()
            if unit[:2] == _CHANNEL:
                return channel_data(unit)

    async def aclose(self) -> None:
        """Close; the server ends the allocation when its lifetime is over."""
        await self._link.aclose()

    async def _request(self, kind: int, attributes: Attributes, rto_s: float) -> None:
        """Send a request until it is granted; the first refusal brings realm and nonce."""
        while True:
            answer = await self._answer(self._message(kind, attributes), rto_s)
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

    def _message(self, kind: int, attributes: Attributes) -> stun.Message:
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
