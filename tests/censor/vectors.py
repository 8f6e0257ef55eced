"""What protocols send: vectors of RFCs, packets of real programs, and packets made by hand."""

from __future__ import annotations

import os
import select
import socket
import ssl
import struct
import subprocess
import zlib
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from random import Random

from testbed.call import wire
from testbed.call.dialects import DIALECTS, Dialect, Session

_DATA = Path(__file__).parent / "data"
_WAIT_S = 5.0
Sent = tuple[bool, bytes]
"""Whether a payload goes up, and the payload."""


def quic(name: str) -> bytes:
    """Return a client's or server's protected Initial of RFC 9001 or 9369, appendix A."""
    return bytes.fromhex((_DATA / f"{name}.hex").read_text())


def stun_request() -> bytes:
    """Return the sample request of RFC 5769, 2.1."""
    return bytes.fromhex(
        "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74"
        "002400046e0001ff80290008932ff9b151263b3600060009"
        "6576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2"
        "80280004e57a3bcf"
    )


def client_hello(name: str | None = "www.example.org", alpn: Sequence[str] = ("h2",)) -> bytes:
    """Return what Python's TLS sends first: one record with a ClientHello."""
    context = ssl.create_default_context()
    if alpn:
        context.set_alpn_protocols(list(alpn))
    context.check_hostname = name is not None
    if name is None:
        context.verify_mode = ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=name)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError


@cache
def pion_client_hello(cookie: bytes = b"", *, offers_13: bool = False) -> bytes:
    """Return the ClientHello of snowflake-proxy 2.5.1 in this lab: the default of pion, its DTLS.

    With a cookie it is the second one (RFC 6347, 4.2.1). `offers_13`: with an extension that offers
    DTLS 1.3 beside 1.2 (RFC 9147, 5.3), which pion of that time has not.
    """
    datagram = bytes.fromhex((_DATA / "pion-client-hello.hex").read_text())
    record, handshake, body = datagram[:11], datagram[13:25], datagram[25:]
    if offers_13:
        offer = b"\0\x2b\0\x05\x04\xfe\xfc\xfe\xfd"
        at = _extensions_at(body)
        length = int.from_bytes(body[at : at + 2], "big") + len(offer)
        body = body[:at] + length.to_bytes(2, "big") + body[at + 2 :] + offer
    body = body[:35] + bytes([len(cookie)]) + cookie + body[36:]  # after version, random, session
    size = len(body).to_bytes(3, "big")
    message = handshake[:1] + size + handshake[4:9] + size + body
    return record + len(message).to_bytes(2, "big") + message


def _extensions_at(body: bytes) -> int:
    """Return where the extensions' length stands in a DTLS ClientHello (RFC 9147, 5.3)."""
    at = 34
    for length_bytes in (1, 1, 2, 1):  # session, cookie, cipher suites, compression
        at += length_bytes + int.from_bytes(body[at : at + length_bytes], "big")
    return at


def dtls_client_hello() -> bytes:
    """Return the first datagram of `openssl s_client -dtls1_2`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(_WAIT_S)
        target = f"127.0.0.1:{server.getsockname()[1]}"
        argv = ["openssl", "s_client", "-dtls1_2", "-connect", target, "-servername", "sfu.example"]
        with _running(argv):
            return server.recv(65536)


def first_of_tcp_client(*argv: str, answers: Sequence[bytes] = ()) -> list[bytes]:
    """Return what a program sends first on a connection, and after each of some answers.

    `PORT` in its arguments stands for the port that it is to connect to.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(_WAIT_S)
        port = str(listener.getsockname()[1])
        with _running([word.replace("PORT", port) for word in argv]):
            connection, _ = listener.accept()
            with connection:
                sent = [_received(connection)]
                for answer in answers:
                    connection.sendall(answer)
                    sent.append(_received(connection))
                return sent


@cache
def ssh_banner() -> bytes:
    """Return the identification string of the ssh client."""
    return first_of_tcp_client("ssh", "-p", "PORT", "-oBatchMode=yes", "127.0.0.1")[0]


@cache
def curl(*argv: str, answers: tuple[bytes, ...] = ()) -> tuple[bytes, ...]:
    """Return what curl sends."""
    return tuple(first_of_tcp_client("curl", "-s", *argv, answers=answers))


def obfs4_handshake(state_dir: Path) -> bytes:
    """Return the first segments that a real obfs4proxy sends to its bridge."""
    with socket.create_server(("127.0.0.1", 0)) as bridge:
        bridge.settimeout(_WAIT_S)
        environment = {
            "TOR_PT_MANAGED_TRANSPORT_VER": "1",
            "TOR_PT_STATE_LOCATION": str(state_dir),
            "TOR_PT_CLIENT_TRANSPORTS": "obfs4",
        }
        with _running(["obfs4proxy"], environment) as process:
            assert process.stdout is not None
            line = next(line for line in process.stdout if line.startswith(b"CMETHOD obfs4"))
            host, port = line.split()[3].decode().split(":")
            certificate = b64encode(Random(7).randbytes(52)).decode().rstrip("=")
            user = f"cert={certificate};iat-mode=0".encode()
            with socket.create_connection((host, int(port)), _WAIT_S) as client:
                client.sendall(b"\5\1\2")
                client.recv(2)
                client.sendall(b"\1" + bytes([len(user)]) + user + b"\1\0")
                client.recv(2)
                address = bytes([127, 0, 0, 1]) + bridge.getsockname()[1].to_bytes(2, "big")
                client.sendall(b"\5\1\0\1" + address)
                connection, _ = bridge.accept()
                with connection:
                    return _received(connection)


def dns_query(name: str = "www.example.org", kind: int = 1) -> bytes:
    """Build a DNS query with EDNS (RFC 1035, 4.1; RFC 6891), as resolvers send it."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    header = struct.pack("!HHHHHH", 0x1234, 0x0100, 1, 0, 0, 1)
    return header + labels + struct.pack("!BHH", 0, kind, 1) + b"\0\0\x29\x04\xd0" + bytes(6)


def framed(message: bytes) -> bytes:
    """Put a length of two bytes in front, as DNS and OpenVPN do over TCP."""
    return len(message).to_bytes(2, "big") + message


def wireguard_initiation() -> bytes:
    """Build a handshake initiation of the right size (WireGuard's white paper, 5.4.2)."""
    return b"\1\0\0\0" + Random(1).randbytes(144)


def ike_request() -> bytes:
    """Build an IKE_SA_INIT request with a nonce (RFC 7296, 1.2, 3.1 and 3.9)."""
    nonce = struct.pack("!BBH", 0, 0, 36) + Random(2).randbytes(32)
    return struct.pack("!8s8sBBBBII", b"initiate", bytes(8), 40, 0x20, 34, 8, 0, 64) + nonce


def openvpn() -> list[Sent]:
    """Build the beginning of an OpenVPN handshake without tls-auth: reset, reset, ack, control."""
    client, server = b"\x01" * 8, b"\x02" * 8
    return [
        (True, bytes([7 << 3]) + client + b"\0" + bytes(4)),
        (False, bytes([8 << 3]) + server + b"\1" + bytes(4) + client + bytes(4)),
        (True, bytes([5 << 3]) + client + b"\1" + bytes(4) + server),
        (True, bytes([4 << 3]) + client + b"\0" + b"\0\0\0\1" + client_hello(None, ())),
    ]


def messenger_call(dialect: str, packets: int = 20) -> list[Sent]:
    """Return what the caller of a modelled messenger sends: its requests, then media."""
    make, _ = DIALECTS[dialect]
    end: Dialect = make(Session(bytes(range(16)), is_caller=True), 20, Random(3))
    requests = [step.request for step in end.steps() if step.request is not None]
    random = Random(4)
    media = [end.media(index, random.randbytes(60)) for index in range(packets)]
    return [(True, payload) for payload in (*requests, *media)]


def srtp_stream(packets: int = 20) -> list[Sent]:
    """Return SRTP alone, both ways."""
    random = Random(5)
    return [
        (
            way,
            wire.Rtp(0x80, 111, frame_ms=20).packet(n, random.randbytes(60)),
        )
        for n in range(packets)
        for way in (True, False)
    ]


def with_fingerprint(message: bytes) -> bytes:
    """Append a FINGERPRINT to a STUN message (RFC 8489, 14.7)."""
    length = int.from_bytes(message[2:4], "big") + 8
    grown = message[:2] + length.to_bytes(2, "big") + message[4:]
    return grown + struct.pack("!HHI", 0x8028, 4, zlib.crc32(grown) ^ 0x5354554E)


@contextmanager
def _running(
    argv: Sequence[str], environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        list(argv),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **(environment or {})},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _received(connection: socket.socket) -> bytes:
    """Return what comes until nothing more does."""
    received = b""
    wait_s = _WAIT_S
    while select.select([connection], [], [], wait_s)[0]:
        chunk = connection.recv(65536)
        if not chunk:
            break
        received += chunk
        wait_s = 0.05
    return received
