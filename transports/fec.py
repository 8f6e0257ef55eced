"""Forward error correction around any other transport: an XOR parity after every few datagrams.

Header: the group's number, 4 bytes, big-endian; the place in the group, 1 byte. Places 0 to
`window` - 1 are datagrams, place `window` is the parity: the XOR of the others, each with its
length (2 bytes, big-endian) in front and zeros behind. It brings back one lost datagram a group.
"""

from collections import defaultdict, deque
from dataclasses import dataclass
from typing import ClassVar

import trio

from testbed import transport
from testbed.transport import Address, Host, Program, ServerInfo
from testbed.tunnel import serve_clients

_GROUPS = 8
"""How many groups are remembered: a later datagram brings nothing back, and is passed on."""


@dataclass(frozen=True)
class Transport:
    """XOR parity around another transport: a lost datagram comes late. Unordered."""

    inner: transport.Transport
    """The transport to wrap; it must carry 7 bytes more than the largest datagram."""
    window: int = 5
    """Datagrams for each parity: one in `window` + 1 packets is added."""

    programs: ClassVar[tuple[Program, ...]] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.window <= 255:
            raise ValueError(f"window: {self.window} is not a number from 1 to 255")

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Serve the inner transport, and what decodes behind it."""

        async def decode(channel: trio.abc.Channel[bytes]) -> None:
            await transport.forward_channel(host, _Parity(channel, self.window), forward)

        behind = await serve_clients(host, Address(host.address, 0), decode)
        return await self.inner.serve(host, listen, behind)

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        """Connect the inner transport."""
        return _Parity(await self.inner.connect(host, server), self.window)


class _Parity(trio.abc.Channel[bytes]):
    def __init__(self, channel: trio.abc.Channel[bytes], window: int) -> None:
        self._channel, self._window = channel, window
        self._group, self._sent = 0, list[bytes]()
        self._heard: defaultdict[int, dict[int, bytes]] = defaultdict(dict)
        self._ready = deque[bytes]()

    async def send(self, value: bytes) -> None:
        head = self._group.to_bytes(4, "big")
        await self._channel.send(head + bytes([len(self._sent)]) + value)
        self._sent.append(transport.frame_datagram(value))
        if len(self._sent) == self._window:
            await self._channel.send(head + bytes([self._window]) + _xor(self._sent))
            self._group, self._sent = self._group + 1, []

    async def receive(self) -> bytes:
        while not self._ready:
            self._take(await self._channel.receive())
        return self._ready.popleft()

    def _take(self, datagram: bytes) -> None:
        group, place, content = int.from_bytes(datagram[:4], "big"), datagram[4], datagram[5:]
        heard = self._heard[group]
        if place in heard:
            return
        is_parity = place == self._window
        heard[place] = content if is_parity else transport.frame_datagram(content)
        if not is_parity:
            self._ready.append(content)
        if len(heard) == self._window and self._window in heard:
            lost = next(k for k in range(self._window) if k not in heard)
            heard[lost] = _xor(list(heard.values()))
            if (found := transport.take_datagram(bytearray(heard[lost]))) is not None:
                self._ready.append(found)
        if len(self._heard) > _GROUPS:
            del self._heard[min(self._heard)]

    async def aclose(self) -> None:
        await self._channel.aclose()


def _xor(parts: list[bytes]) -> bytes:
    longest = max(map(len, parts))
    total = 0
    for part in parts:
        total ^= int.from_bytes(part.ljust(longest, b"\0"), "big")
    return total.to_bytes(longest, "big")
