"""Detectors, one file each: state facts about a flow, never decide about it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from testbed.censor.detectors.client_hello import HELLO_VALUES
from testbed.censor.detectors.dns import Dns
from testbed.censor.detectors.dtls import Dtls, DtlsClientHello, Snowflake2021, Snowflake2022
from testbed.censor.detectors.fully_encrypted import FullyEncrypted
from testbed.censor.detectors.http import Http
from testbed.censor.detectors.openvpn import OpenVpn
from testbed.censor.detectors.quic import Quic, QuicTspu
from testbed.censor.detectors.rtp import RtpHeader, RtpTiming
from testbed.censor.detectors.socks import Socks
from testbed.censor.detectors.ssh import Ssh
from testbed.censor.detectors.stun import Stun, StunStrict
from testbed.censor.detectors.telegram import TelegramReflector
from testbed.censor.detectors.tls import Tls, TlsClientHello
from testbed.censor.detectors.turn import TurnChannelData
from testbed.censor.detectors.unknown import Unknown
from testbed.censor.detectors.whatsapp import WhatsAppLike
from testbed.censor.detectors.wireguard import WireGuard
from testbed.censor.facts import Detector

Label = str
"""A fact about a flow, by the name that a profile's `match.label` uses."""
VALUES = ("sni", "host", "alpn", "fingerprint")
"""The facts that have a value; a profile's `match` has patterns for them."""


class Kind(NamedTuple):
    """A detector, and what it is for."""

    protocol: str
    """The flows that it looks at."""
    states: tuple[str, ...]
    """The facts that it may state."""
    make: Callable[[bool], Detector]
    """Makes one for a flow; True: it puts segments and frames together before it reads them."""
    packets: int | None
    """How many packets with payload of a flow it looks at, unless the profile says; None: all."""


def _kind(
    protocol: str, states: tuple[str, ...], make: Callable[[], Detector], packets: int | None
) -> Kind:
    return Kind(protocol, states, lambda reassembles: make(), packets)


_OPENING, _CALL_SET_UP = 4, 40
"""Packets in which a protocol that begins a connection, or what a call sets up, has shown."""

DETECTORS: tuple[Kind, ...] = (
    _kind("udp", ("stun",), Stun, None),
    _kind("udp", ("stun-strict",), StunStrict, _CALL_SET_UP),
    _kind("udp", ("turn-channel-data",), TurnChannelData, _CALL_SET_UP),
    _kind("udp", ("dtls",), Dtls, _CALL_SET_UP),
    _kind("udp", ("dtls-client-hello", *HELLO_VALUES), DtlsClientHello, _CALL_SET_UP),
    _kind("udp", ("snowflake-dtls-2021",), Snowflake2021, _CALL_SET_UP),
    _kind("udp", ("snowflake-dtls-2022",), Snowflake2022, _CALL_SET_UP),
    _kind("udp", ("rtp",), RtpHeader, 5 * _CALL_SET_UP),
    _kind("udp", ("rtp-timing",), RtpTiming, None),
    _kind("udp", ("whatsapp-like",), WhatsAppLike, _CALL_SET_UP),
    _kind("udp", ("telegram-reflector",), TelegramReflector, _CALL_SET_UP),
    _kind("tcp", ("tls",), Tls, _OPENING),
    Kind("tcp", ("tls-client-hello", "tls-1.3", *HELLO_VALUES), TlsClientHello, _OPENING),
    Kind("udp", ("quic", "quic-v1", "quic-v2", *HELLO_VALUES), Quic, _OPENING),
    _kind("udp", ("quic-tspu",), QuicTspu, _OPENING),
    _kind("udp", ("wireguard",), WireGuard, _OPENING),
    _kind("udp", ("openvpn",), partial(OpenVpn, framed=False), 2 * _OPENING),
    _kind("tcp", ("openvpn",), partial(OpenVpn, framed=True), 2 * _OPENING),
    _kind("tcp", ("ssh",), Ssh, _OPENING),
    _kind("tcp", ("http", "http-proxy", "host"), Http, _OPENING),
    _kind("tcp", ("socks",), Socks, _OPENING),
    _kind("udp", ("dns", "host"), partial(Dns, framed=False), _OPENING),
    _kind("tcp", ("dns", "host"), partial(Dns, framed=True), _OPENING),
    _kind("tcp", ("fully-encrypted",), FullyEncrypted, _OPENING),
    _kind("tcp", ("unknown",), partial(Unknown, "tcp"), None),
    _kind("udp", ("unknown",), partial(Unknown, "udp"), None),
)
LABELS = frozenset(name for kind in DETECTORS for name in kind.states) - frozenset(VALUES)
