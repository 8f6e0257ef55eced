"""The detectors, one file each: they state facts about a flow; rules decide what happens to it.

A detector is a hypothesis about what a middlebox looks for. It is built from reports about
middleboxes, published classifiers, and the protocols themselves; none is a measurement of a
middlebox. `testbed recognise --evaluate` shows how often the detectors of calls and of TLS in TLS
are right on captures.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from testbed.censor.detectors.client_hello import HELLO_VALUES
from testbed.censor.detectors.dns import Dns
from testbed.censor.detectors.dtls import Dtls, DtlsClientHello, Snowflake2021, Snowflake2022
from testbed.censor.detectors.fully_encrypted import FullyEncrypted
from testbed.censor.detectors.http import Http, HttpHost, HttpStart
from testbed.censor.detectors.openvpn import OpenVpn
from testbed.censor.detectors.quic import Quic, QuicClientHello, QuicTspu
from testbed.censor.detectors.rtp import RtpHeader, RtpTiming
from testbed.censor.detectors.socks import Socks
from testbed.censor.detectors.ssh import Ssh
from testbed.censor.detectors.stun import Stun, StunOverTcp, StunStrict
from testbed.censor.detectors.telegram import TelegramReflector
from testbed.censor.detectors.tls import Tls, TlsClientHello
from testbed.censor.detectors.tls_in_tls import TlsInTls
from testbed.censor.detectors.turn import TurnChannelData, TurnOverTcp
from testbed.censor.detectors.unknown import Unknown
from testbed.censor.detectors.whatsapp import WhatsAppLike
from testbed.censor.detectors.wireguard import WireGuard
from testbed.censor.facts import Detector, Part, Reading

Label = str
"""The name of a fact about a flow, as used in a profile's `match.label`."""
VALUES = ("sni", "host", "alpn", "fingerprint")
"""The facts that have a value; a profile's `match` has patterns for them."""


class Kind(NamedTuple):
    """A kind of detector, and the flows it is for."""

    protocol: str
    """The transport protocol of the flows that it inspects."""
    states: tuple[str, ...]
    """The facts that it may state."""
    make: Callable[[Reading], Detector]
    """Make a detector for one flow."""
    packets: int | None
    """How many packets with payload it inspects, unless the profile sets it; None: all."""
    parts: frozenset[Part] = frozenset()
    """The parts whose reassembly affects what it finds."""

    @property
    def reads_stream(self) -> bool:
        """Return whether it reads the reassembled stream of a direction instead of segments."""
        return "tcp-segments" in self.parts


def _kind(
    protocol: str, states: tuple[str, ...], make: Callable[[], Detector], packets: int | None
) -> Kind:
    return Kind(protocol, states, lambda reading: make(), packets)


def _stream(states: tuple[str, ...], make: Callable[[Reading], Detector], *parts: Part) -> Kind:
    """Return a kind that inspects the beginning of each direction of a TCP connection."""
    return Kind("tcp", states, make, _OPENING, frozenset({"tcp-segments", *parts}))


_OPENING, _CALL_SET_UP = 4, 40
"""The number of packets within which a protocol shows at the start of a connection, or in a call's
set-up."""

DETECTORS: tuple[Kind, ...] = (
    _kind("udp", ("stun",), Stun, None),
    _kind("udp", ("stun-strict",), StunStrict, _CALL_SET_UP),
    _kind("udp", ("turn-channel-data",), TurnChannelData, _CALL_SET_UP),
    _kind("udp", ("dtls",), Dtls, _CALL_SET_UP),
    Kind(
        "udp",
        ("dtls-client-hello", *HELLO_VALUES),
        DtlsClientHello,
        _CALL_SET_UP,
        frozenset({"dtls-fragments"}),
    ),
    _kind("udp", ("snowflake-dtls-2021",), Snowflake2021, _CALL_SET_UP),
    _kind("udp", ("snowflake-dtls-2022",), Snowflake2022, _CALL_SET_UP),
    _kind("udp", ("rtp",), RtpHeader, 5 * _CALL_SET_UP),
    _kind("udp", ("rtp-timing",), RtpTiming, None),
    _kind("udp", ("whatsapp-like",), WhatsAppLike, _CALL_SET_UP),
    _kind("udp", ("telegram-reflector",), TelegramReflector, _CALL_SET_UP),
    _stream(("tls",), Tls),
    _stream(("tls-client-hello", "tls-1.3", *HELLO_VALUES), TlsClientHello, "tls-records"),
    _kind("udp", ("quic", "quic-v1", "quic-v2"), Quic, _OPENING),
    Kind(
        "udp", HELLO_VALUES, QuicClientHello, _OPENING, frozenset({"quic-frames", "quic-datagrams"})
    ),
    _kind("tcp", ("stun",), StunOverTcp, _OPENING),
    _kind("tcp", ("turn-channel-data",), TurnOverTcp, _CALL_SET_UP),
    _kind("tcp", ("tls-in-tls",), TlsInTls, None),
    _kind("udp", ("quic-tspu",), QuicTspu, _OPENING),
    _kind("udp", ("wireguard",), WireGuard, _OPENING),
    _kind("udp", ("openvpn",), partial(OpenVpn, framed=False), 2 * _OPENING),
    _kind("tcp", ("openvpn",), partial(OpenVpn, framed=True), 2 * _OPENING),
    _stream(("ssh",), lambda reading: Ssh()),
    _stream(("http", "http-proxy"), Http),
    _stream(("host",), HttpHost),
    _kind("tcp", ("http-start",), HttpStart, _OPENING),
    _stream(("socks",), lambda reading: Socks()),
    _kind("udp", ("dns", "host"), partial(Dns, framed=False), _OPENING),
    _stream(("dns", "host"), lambda reading: Dns(framed=True)),
    _kind("tcp", ("fully-encrypted",), FullyEncrypted, _OPENING),
    Kind("tcp", ("unknown",), lambda reading: Unknown("tcp"), None, frozenset({"tcp-segments"})),
    _kind("udp", ("unknown",), partial(Unknown, "udp"), None),
)
LABELS = frozenset(name for kind in DETECTORS for name in kind.states) - frozenset(VALUES)
