"""Recognise flows whose beginning matches none of the protocols known here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from testbed.censor.detectors.dns import asked_name
from testbed.censor.detectors.dtls import looks_like_dtls
from testbed.censor.detectors.http import looks_like_http
from testbed.censor.detectors.ike import is_first_message
from testbed.censor.detectors.quic import looks_like_quic
from testbed.censor.detectors.rtp import rtp_header
from testbed.censor.detectors.socks import looks_like_socks
from testbed.censor.detectors.ssh import looks_like_ssh
from testbed.censor.detectors.stun import MAGIC_COOKIE
from testbed.censor.detectors.tls import looks_like_tls
from testbed.censor.detectors.wireguard import is_initiation
from testbed.censor.facts import Fact, Kind, of_packets
from testbed.censor.packet import Packet

_PACKETS = 2
_SHAPES: Mapping[str, Sequence[Callable[[bytes], bool]]] = {
    "tcp": (
        looks_like_tls,
        looks_like_http,
        looks_like_ssh,
        looks_like_socks,
        lambda payload: asked_name(payload, framed=True) is not None,
    ),
    "udp": (
        lambda payload: payload[4:8] == MAGIC_COOKIE,
        looks_like_dtls,
        looks_like_quic,
        is_initiation,
        is_first_message,
        lambda payload: asked_name(payload, framed=False) is not None,
    ),
}


class Unknown:
    """States it if neither of the first two packets with payload looks like a known protocol.

    RTP's header has too few fixed bits to recognise it by one packet: both must look like it. STUN
    is known only over UDP, since no report describes a middlebox that knows it over TCP.
    """

    def __init__(self, protocol: str) -> None:
        self._protocol = protocol
        self._shapes = _SHAPES[protocol]
        self._packets = self._like_rtp = 0

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Inspect one packet."""
        if any(has_shape(packet.payload) for has_shape in self._shapes):
            return ()
        self._packets += 1
        self._like_rtp += self._protocol == "udp" and rtp_header(packet.payload) is not None
        if self._packets < _PACKETS:
            return None
        return () if self._like_rtp == _PACKETS else (Fact("unknown"),)


def is_parsed_first(payload: bytes) -> bool:
    """Return whether inspection continues: at TLS, HTTP or SOCKS (Xue et al., IMC 2021)."""
    return looks_like_tls(payload) or looks_like_http(payload) or looks_like_socks(payload)


KINDS = (
    Kind("tcp", ("unknown",), lambda reading: Unknown("tcp"), None, frozenset({"tcp-segments"})),
    of_packets("udp", ("unknown",), partial(Unknown, "udp"), None),
)
