"""Recognise TLS inside TLS by the sizes of the bursts that follow the outer handshake.

A client that uses TLS through a proxy that itself uses TLS performs two handshakes, and the inner
one shows through the sizes of the outer records (Xue et al., "Fingerprinting Obfuscated Proxy
Traffic with Encapsulated TLS Handshakes", USENIX Security 2024). This is the classifier of OpenGFW
(`analyzer/tcp/trojan.go`): it adds up the bytes of four bursts in alternating directions and
applies a decision tree. Its authors trained the tree with about 20,000 samples of Trojan and 30,000
others; they state a "1% false positive rate, 10% false negative rate" and advise against blocking
by it. These rates hold for their samples; nobody has published any for others. It is a hypothesis
about a middlebox, not a measurement of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from testbed.censor.detectors.tls import looks_like_tls
from testbed.censor.facts import Fact, of_packets
from testbed.censor.packet import Direction, Packet

_CLIENT_READY = bytes.fromhex("140303000101")
"""A ChangeCipherSpec record, which the client sends once it has the keys (RFC 8446, D.4)."""
_BURSTS = 4
_MAX_BYTES = 512_000
_HALF, _WRAP = 1 << 31, 1 << 32
_ANY = (0, inf)
_TREE: Sequence[tuple[tuple[float, float], ...]] = (
    ((157, 411), (0, 157), (41, 788), (0, 185)),
    ((157, 892), (113, 157), (41, 788), (186, inf)),
    ((419, 892), (0, 157), (789, 1346), _ANY),
    ((186, 206), (158, 251), _ANY, _ANY),
    ((207, 659), (158, 286), (71, 370), _ANY),
    ((660, 1123), (158, 286), (71, inf), (273, inf)),
    ((1436, 1466), (158, 286), _ANY, (538, inf)),
    ((207, 277), (727, 768), _ANY, _ANY),
    ((278, 284), (287, 782), _ANY, (0, 783)),
    ((285, inf), (397, 492), _ANY, (972, inf)),
    ((0, 874), (2432, 6232), (86, 220), (0, 1173)),
    ((875, inf), (2432, 6232), (86, 108), (0, 1173)),
    ((875, inf), (5384, 6232), (109, 220), (0, 1173)),
    ((0, 664), (2432, 6232), (221, 383), (0, 346)),
    ((0, 445), (2432, 6232), (384, 411), _ANY),
    ((0, 664), (2432, 3708), (412, inf), (0, 307)),
    ((665, 724), (2432, 6232), (221, 580), _ANY),
    ((679, 1055), (2432, 6232), (581, inf), _ANY),
    ((1056, inf), (5353, 6232), (221, inf), (0, 2173)),
    ((0, 670), (6233, 9408), _ANY, (0, 76)),
    ((0, 670), (9073, 9408), _ANY, (77, inf)),
    ((671, 795), (6233, 6288), _ANY, _ANY),
    ((671, 795), (6335, 9408), _ANY, (0, 6404)),
    ((671, 795), (8925, 9408), _ANY, (6405, inf)),
    ((2592, 2840), (6233, 9408), (733, inf), _ANY),
    (_ANY, (13019, 13314), _ANY, (31, 1786)),
)
"""The positive leaves of the tree: minimum and maximum of the bytes in four bursts (up, down, up,
down), beginning with the client's ChangeCipherSpec."""


class TlsInTls:
    """Applies the tree when the client begins its third burst, and gives up if it says no.

    Retransmitted bytes are not counted twice. It also gives up on a connection that does not begin
    with TLS, and after 512,000 bytes.
    """

    def __init__(self) -> None:
        self._client: Direction | None = None
        self._ready = False
        self._bursts = [0]
        self._speaks = Direction.UP
        self._next: dict[Direction, int] = {}

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Inspect one segment."""
        payload = packet.payload
        if self._client is None:
            if not looks_like_tls(payload):
                return ()
            self._client = self._speaks = packet.direction
        new_bytes = self._new_bytes(packet)
        if new_bytes == 0:
            return None
        is_clients = packet.direction is self._client
        self._ready = self._ready or (is_clients and payload.startswith(_CLIENT_READY))
        if not self._ready:
            return None
        if packet.direction is not self._speaks:
            self._speaks = packet.direction
            if len(self._bursts) == _BURSTS:
                return (Fact("tls-in-tls"),) if looks_like_tls_in_tls(self._bursts) else ()
            self._bursts.append(0)
        self._bursts[-1] += new_bytes
        return () if sum(self._bursts) > _MAX_BYTES else None

    def _new_bytes(self, packet: Packet) -> int:
        """Return the number of new bytes in a segment; 0 if all of it arrived before."""
        fields = packet.tcp
        if fields is None:
            return len(packet.payload)
        end = fields.sequence + len(packet.payload)
        before = self._next.get(packet.direction, fields.sequence)
        moved = (end - before + _HALF) % _WRAP - _HALF
        if moved <= 0:
            return 0
        self._next[packet.direction] = end % _WRAP
        return moved


def looks_like_tls_in_tls(bursts: Sequence[int]) -> bool:
    """Return whether four burst sizes (bytes; up, down, up, down) look like an inner handshake."""
    return any(
        all(first <= size <= last for size, (first, last) in zip(bursts, leaf, strict=True))
        for leaf in _TREE
    )


KINDS = (of_packets("tcp", ("tls-in-tls",), TlsInTls, None),)
