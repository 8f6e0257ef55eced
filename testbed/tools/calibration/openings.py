"""The first payloads of flows, and the facts that detectors should state about them.

They are written from the protocols' specifications, independently of the detectors; a test compares
the two.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from functools import cache
from random import Random

from testbed.censor.opening import Opening, Step
from testbed.plugins import Plugins
from testbed.transport import hello

NAME, ALPN = "www.unlisted.invalid", "h2"
"""A host name and an ALPN value for which no profile looks."""
_OF_DETECTORS: Mapping[str, tuple[Opening, ...]] = Plugins("testbed.censor.detectors", "OPENINGS")
_COOKIE = bytes.fromhex("2112a442")
_VOICE_GAP_S, _VOICE_BYTES, _VOICE_PACKETS = 0.02, 160, 50


def filler(size_bytes: int) -> bytes:
    """Return a payload that reveals nothing, unless its size is that of voice (30 to 399 bytes)."""
    return bytes(size_bytes)


@cache
def openings(sni: str = NAME, host: str = NAME, alpn: str = ALPN) -> tuple[Opening, ...]:
    """Return one opening of each kind, the simplest of each protocol first.

    Those that detectors bring name no values.
    """
    return (
        *_plain(),
        *_udp_set_up(),
        *_udp_connections(sni, host, alpn),
        *_tcp_connections(sni, host, alpn),
        *(opening for found in _OF_DETECTORS.values() for opening in found),
    )


def silent(protocol: str, packets: int) -> Opening:
    """Return an opening that reveals nothing except, from the second packet on, `unknown`."""
    second = frozenset() if protocol == "icmp" else frozenset({"unknown"})
    steps = [Step(filler(20), second if number == 1 else frozenset()) for number in range(packets)]
    return Opening("zeros", protocol, tuple(steps))


def _plain() -> Iterator[Opening]:
    for protocol in ("udp", "tcp", "icmp"):
        yield silent(protocol, 2)
    # A flow that begins like DTLS or TLS application data is not unknown, but is no handshake.
    yield _single("DTLS data", "udp", hello.dtls_record(filler(16), kind=23))
    yield _single("TLS data", "tcp", b"\x17\x03\x03\x00\x10" + filler(16))


def _udp_set_up() -> Iterator[Opening]:
    random = Random("openings")
    binding = struct.pack("!HH", 1, 0) + _COOKIE + random.randbytes(12)
    yield _single("STUN", "udp", binding, "stun", "stun-strict")
    yield _single("STUN's cookie", "udp", b"\0\1\0\7" + _COOKIE + bytes(12), "stun")
    whatsapp = struct.pack("!HH", 0x0801, 7) + _COOKIE + bytes(12)
    yield _single("WhatsApp's STUN", "udp", whatsapp, "stun", "whatsapp-like")
    reflector = bytes(16) + b"\xff" * 12 + b"\xfe\xff\xff\xff"
    yield _pair("Telegram's hello", "udp", reflector, "telegram-reflector")
    channel = b"\x40\x01\x00\x10" + filler(16)
    steps = (Step(channel), Step(channel, frozenset({"unknown"})))
    last = Step(channel, frozenset({"turn-channel-data"}))
    yield Opening("TURN data", "udp", (*steps, last))
    media = [
        b"\x80\x6f" + struct.pack("!HIl", number, 960 * number, 7) + filler(12)
        for number in range(4)
    ]
    yield Opening("RTP", "udp", (*map(Step, media[:3]), Step(media[3], frozenset({"rtp"}))))
    voice = [Step(filler(_VOICE_BYTES)) for _ in range(_VOICE_PACKETS)]
    voice[1] = voice[1]._replace(labels=frozenset({"unknown"}))
    voice[-1] = voice[-1]._replace(labels=frozenset({"rtp-timing"}))
    yield Opening("voice by timing", "udp", tuple(voice), gap_s=_VOICE_GAP_S)


def _udp_connections(sni: str, host: str, alpn: str) -> Iterator[Opening]:
    names = {"sni": sni, "alpn": alpn}
    yield _single("DTLS", "udp", hello.dtls(sni, alpn), "dtls", "dtls-client-hello", **names)
    record = hello.dtls_record(b"\x02" + filler(0x90))
    groups = bytes.fromhex("001d00170018")
    server = record[:0x59] + b"\x04" + groups[1:] + record[0x5F:]
    yield _single("pion's ServerHello", "udp", server, "dtls", "snowflake-dtls-2021")
    client = record[:0x6E] + groups + record[0x74:]
    yield _single("pion's ClientHello", "udp", client, "dtls", "snowflake-dtls-2022")
    initial = hello.quic(sni, alpn)
    yield _single("QUIC v1", "udp", initial, "quic", "quic-v1", "quic-tspu", **names)
    small = hello.quic(sni, alpn, size_bytes=1000)
    yield _single("QUIC v1 of 1000 bytes", "udp", small, "quic", "quic-v1", **names)
    second = hello.quic(sni, alpn, version=0x6B3343CF)
    yield _single("QUIC v2", "udp", second, "quic", "quic-v2", **names)
    yield _single("WireGuard", "udp", b"\1\0\0\0" + Random(1).randbytes(144), "wireguard")
    yield _openvpn("udp")
    yield _single("DNS", "udp", _dns(host), "dns", host=host)


def _tcp_connections(sni: str, host: str, alpn: str) -> Iterator[Opening]:
    names = {"sni": sni, "alpn": alpn}
    shown = ("tls", "tls-client-hello")
    yield _single("TLS 1.3", "tcp", hello.tls(sni, alpn), *shown, "tls-1.3", **names)
    yield _single("TLS 1.2", "tcp", hello.tls(sni, alpn, tls13=False), *shown, **names)
    yield _single("TLS ServerHello", "tcp", b"\x16\x03\x03\x00\x14\x02" + filler(19), "tls")
    request = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    yield _single("HTTP", "tcp", request, "http", "http-start", host=host)
    yield _single("HTTP's method", "tcp", b"PUT \x00\x01\x02\x03", "http-start")
    proxied = f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n".encode()
    labels = ("http", "http-proxy", "http-start")
    yield _single("HTTP to a proxy", "tcp", proxied, *labels, host=host)
    yield _single("SSH", "tcp", b"SSH-2.0-calibration\r\n", "ssh")
    yield _single("SOCKS", "tcp", b"\5\1\0", "socks")
    query = _dns(host)
    yield _single("DNS", "tcp", len(query).to_bytes(2, "big") + query, "dns", host=host)
    yield _openvpn("tcp")
    yield from _turn_over_tcp()
    yield _tls_in_tls(sni, alpn)
    yield _pair("random bytes", "tcp", _balanced(400), "fully-encrypted")


def _turn_over_tcp() -> Iterator[Opening]:
    """Yield a request to a TURN server (RFC 8489, 6.2.2), and channel data (RFC 8656, 12)."""
    allocate = struct.pack("!HH", 3, 0) + _COOKIE + filler(12)
    yield _pair("STUN", "tcp", allocate, "stun")
    channel = Step(b"\x40\x01\x00\x10" + filler(16))
    steps = (
        Step(allocate, frozenset({"stun"})),
        channel._replace(labels=frozenset({"unknown"})),
        channel,
        channel._replace(labels=frozenset({"turn-channel-data"})),
    )
    yield Opening("TURN data", "tcp", steps)


def _tls_in_tls(sni: str, alpn: str) -> Opening:
    """Return a handshake, then bursts of 300, 200, 200 and 100 bytes (OpenGFW's decision tree)."""
    ready = b"\x14\x03\x03\0\1\1"
    steps = (
        Step(hello.tls(sni, alpn), frozenset({"tls", "tls-client-hello", "tls-1.3"})),
        Step(b"\x17\x03\x03\x05\x73" + filler(1395), by_client=False),
        Step(ready + filler(294)),
        Step(filler(200), by_client=False),
        Step(filler(200)),
        Step(filler(100), by_client=False),
        Step(filler(20), frozenset({"tls-in-tls"})),
    )
    return Opening("TLS in TLS", "tcp", steps, {"sni": sni, "alpn": alpn})


def _single(name: str, protocol: str, payload: bytes, *labels: str, **values: str) -> Opening:
    return Opening(name, protocol, (Step(payload, frozenset(labels)),), values)


def _pair(name: str, protocol: str, payload: bytes, *labels: str) -> Opening:
    """Return an opening that is recognised as `unknown` with its second payload."""
    second = Step(filler(20), frozenset({"unknown"}))
    return Opening(name, protocol, (Step(payload, frozenset(labels)), second))


def _openvpn(protocol: str) -> Opening:
    """Return OpenVPN's hard resets and an acknowledgement (OpenVPN's protocol documentation)."""
    client, server = b"\x01" * 8, b"\x02" * 8
    messages = [
        bytes([7 << 3]) + client + b"\0" + bytes(4),
        bytes([8 << 3]) + server + b"\1" + bytes(4) + client + bytes(4),
        bytes([5 << 3]) + client + b"\1" + bytes(4) + server,
    ]
    if protocol == "tcp":
        messages = [len(message).to_bytes(2, "big") + message for message in messages]
    first, answer, last = messages
    steps = (
        Step(first),
        Step(answer, frozenset({"unknown"}), by_client=False),
        Step(last, frozenset({"openvpn"})),
    )
    return Opening("OpenVPN", protocol, steps)


def _dns(name: str) -> bytes:
    """Build a query (RFC 1035, 4.1)."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return struct.pack("!HHHHHH", 0x1234, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"


def _balanced(size_bytes: int) -> bytes:
    """Return bytes with four set bits each; at most half are printable, and the first is not."""
    random = Random("fully encrypted")
    pool = [byte for byte in range(0x80, 0x100) if byte.bit_count() == 4]
    return bytes(random.choices(pool, k=size_bytes))
