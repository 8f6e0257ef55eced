"""Writes captures without addresses, payloads and names, such that a fit finds the same numbers.

What the fit reads stays: times since the first packet, lengths, TTLs, ports, TCP's header, and the
headers in clear that number packets. Everything else is replaced by a hash with a key that exists
only while this runs, so the same content is the same in all captures of one call and nowhere else.
Times and sizes themselves remain, and may tell which programs were used, and even what was said in
which language (Wright et al., Language Identification of Encrypted VoIP Traffic, USENIX Security
2007): an anonymised capture is safer to share, not safe.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b, shake_128
from ipaddress import ip_address
from math import floor
from pathlib import Path

import cypcap

from testbed.censor.detectors.dtls import looks_like_dtls
from testbed.censor.detectors.rtp import rtcp_header, rtp_header, zoom_header
from testbed.censor.detectors.stun import MAGIC_COOKIE
from testbed.censor.detectors.telegram import WRAPPER_BYTES, is_wrapped
from testbed.censor.detectors.turn import DATA_HEADER_BYTES, channel_number
from testbed.censor.packet import Direction, Packet, parse_packet
from testbed.tools.recognition.capture_file import Capture, CaptureError
from testbed.tools.recognition.replay import PRIVATE

_RAW_IP, _SNAP_BYTES = 12, 1 << 16
_DAY_S = 86_400
_MARKED_BYTES = 64
"""How much of a payload is replaced by a hash; the rest is zero."""
_TAG_BYTES, _GREETING = 16, b"\xff" * 12
_STUN_HEADER_BYTES = 20
_TLS_TYPES = (20, 21, 22, 23)
_PREFIXES = {
    (4, True): bytes([10]),
    (4, False): bytes([198, 18]),
    (6, True): bytes([0xFD]),
    (6, False): bytes.fromhex("20010db8"),
}
"""How invented addresses begin, by IP version and whether the true one is private (RFC 1918, 2544,
4193, 3849)."""
_WIREGUARD_DATA = b"\4\0\0\0"


@dataclass
class Anonymiser:
    """Replaces what identifies people; one is used for all captures of a call."""

    key: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    addresses: dict[bytes, bytes] = field(default_factory=dict)
    """The invented address of each true one."""

    def packet(self, data: bytes) -> bytes | None:
        """Return a packet without what identifies people; None for one that is left out."""
        packet = parse_packet(data, Direction.UP)
        if packet.is_later_fragment or not packet.ip_header_bytes:
            return None
        at = packet.ip_header_bytes
        if packet.protocol == "icmp":
            return self._icmp(packet)
        if packet.protocol not in ("udp", "tcp"):
            return None
        payload_at = len(data) - len(packet.payload)
        transport = bytearray(data[at:payload_at])
        if packet.protocol == "tcp":
            transport[20:] = b"\1" * (len(transport) - 20)  # options, such as time stamps
            payload = self._segment(packet.payload)
        else:
            payload = self.datagram(packet.payload)
        return self._header(data[:at]) + bytes(transport) + payload

    def datagram(self, payload: bytes) -> bytes:
        """Return a UDP payload of the same length, with its headers in clear."""
        if channel_number(payload) is not None:
            inner = self._content(payload[DATA_HEADER_BYTES:])
            return payload[:DATA_HEADER_BYTES] + inner
        if payload[_TAG_BYTES : _TAG_BYTES + len(_GREETING)] == _GREETING:
            rest = bytes(len(payload) - 2 * _TAG_BYTES)
            kept = payload[_TAG_BYTES : 2 * _TAG_BYTES]
            return (self._hash(payload[:_TAG_BYTES], _TAG_BYTES) + kept + rest)[: len(payload)]
        if is_wrapped(payload):
            names = self._hash(payload[:_TAG_BYTES], _TAG_BYTES)
            names += self._hash(payload[_TAG_BYTES:20], 4)
            header = names + payload[20:WRAPPER_BYTES]
            return header + self._content(payload[WRAPPER_BYTES:])
        return self._content(payload)

    def _content(self, datagram: bytes) -> bytes:
        """Return a datagram without a relay's header, anonymised."""
        if datagram[4:8] == MAGIC_COOKIE:
            transaction = self._hash(datagram[8:_STUN_HEADER_BYTES], 12)
            rest = bytes(max(len(datagram) - _STUN_HEADER_BYTES, 0))
            return (datagram[:8] + transaction + rest)[: len(datagram)]
        kept, named = _kept(datagram)
        begin = datagram[: kept - named] + self._hash(datagram[kept - named : kept], named)
        return self._filled(begin[:kept], datagram)

    def _segment(self, payload: bytes) -> bytes:
        """Return a TCP payload of the same length; of TLS, the record's header stays."""
        is_tls = len(payload) > 5 and payload[0] in _TLS_TYPES and payload[1] == 3
        return self._filled(payload[:6] if is_tls else b"", payload)

    def _filled(self, begin: bytes, whole: bytes) -> bytes:
        """Return `begin`, then a hash of what followed it, to the same length."""
        size = len(whole) - len(begin)
        if size <= 0:
            return begin[: len(whole)]
        marked = min(size, _MARKED_BYTES)
        rest = whole[len(begin) : len(begin) + 20]
        return begin + shake_128(self.key + rest).digest(marked) + bytes(size - marked)

    def _hash(self, data: bytes, size: int) -> bytes:
        if not size:
            return b""
        return blake2b(data, key=self.key, digest_size=size).digest()

    def _header(self, header: bytes) -> bytes:
        """Return an IP header with invented addresses, without options and identification."""
        if header[0] >> 4 == 4:
            kept = header[:4] + bytes(2) + header[6:10] + bytes(2)
            ends = self.address(header[12:16]) + self.address(header[16:20])
            return kept + ends + b"\1" * (len(header) - 20)
        ends = self.address(header[8:24]) + self.address(header[24:40])
        return header[:1] + bytes(3) + header[4:8] + ends + header[40:]

    def address(self, address: bytes) -> bytes:
        """Return the invented address of a true one."""
        if address not in self.addresses:
            version = 4 if len(address) == 4 else 6
            true = ip_address(address)
            is_private = any(true in network for network in PRIVATE)
            prefix = _PREFIXES[version, is_private]
            number = len(self.addresses) + 1
            self.addresses[address] = prefix + number.to_bytes(len(address) - len(prefix), "big")
        return self.addresses[address]

    def _icmp(self, packet: Packet) -> bytes | None:
        """Return an ICMP error with an anonymised quote; others say nothing that is needed."""
        if packet.quoted is None:
            return None
        at = packet.ip_header_bytes
        quote = packet.data[at + 8 :]
        header_bytes = (quote[0] & 0x0F) * 4 if quote[0] >> 4 == 4 else 40
        header = self._header(quote[:header_bytes])
        ports = quote[header_bytes : header_bytes + 8]
        rest = bytes(max(len(quote) - header_bytes - 8, 0))
        return self._header(packet.data[:at]) + packet.data[at : at + 8] + header + ports + rest


def _kept(datagram: bytes) -> tuple[int, int]:
    """Return how many bytes of a datagram are kept, and how many at their end are a name."""
    if rtcp_header(datagram) is not None:
        return 8, 4
    if rtp_header(datagram) is not None:
        return 12, 4
    if datagram[:4] == _WIREGUARD_DATA and len(datagram) >= 32:
        return 16, 0
    if looks_like_dtls(datagram):
        return 14, 0
    if zoom_header(datagram) is not None:
        return 12, 0
    return min(1, len(datagram)), 0


def anonymise(paths: Sequence[Path], folder: Path) -> list[Path]:
    """Write anonymised copies of captures to a folder; return their paths.

    The copies are called `1.pcap` and so on, since names of files may tell something, too.

    Raises:
        CaptureError: A file is no capture, or a copy is there already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    anonymiser = Anonymiser()
    written = []
    for number, path in enumerate(paths, 1):
        copy = folder / f"{number}.pcap"
        if copy.exists():
            raise CaptureError(f"{copy} is there already: give another folder")
        _copy(path, copy, anonymiser)
        written.append(copy)
    return written


def _copy(path: Path, copy: Path, anonymiser: Anonymiser) -> None:
    with (
        Capture(path) as capture,
        cypcap.open_dead(_RAW_IP, _SNAP_BYTES) as dead,
        dead.dump_open(str(copy)) as dumper,
    ):
        for captured in capture:
            data = anonymiser.packet(captured.data)
            if data is None or len(data) > _SNAP_BYTES:
                continue
            # The day stays, the hour does not.
            day_s = floor((capture.began_at or 0.0) / _DAY_S) * _DAY_S
            dumper.dump(cypcap.Pkthdr(day_s + captured.at, len(data), len(data)), data)
