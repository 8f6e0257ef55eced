"""Recognise HTTP/1 by its request line, or only by its method, and read the Host."""

from __future__ import annotations

import re
from collections.abc import Sequence

from testbed.censor.facts import OPENING_PACKETS, UNFINISHED, Fact, Reading, of_packets, of_stream
from testbed.censor.packet import Direction, Packet
from testbed.censor.stream import MAX_STREAM_BYTES

METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH")
"""RFC 9110, 9.3, and RFC 5789."""
_REQUEST = re.compile(rb"(?:%s) (\S{1,8000}) HTTP/1\.[01]\r?\n" % b"|".join(METHODS))
_HOST = re.compile(rb"\nhost:[ \t]*([^\r\n]{1,255}?)[ \t]*\r?\n", re.IGNORECASE)

_STARTS = (b"GET ", b"POST ", b"HEAD ", b"CONNECT ", b"OPTIONS ", b"DELETE ", b"PUT ")
_LEAST_BYTES, _PAYLOADS = 8, 2


def looks_like_http(payload: bytes) -> bool:
    """Return whether a payload begins with a method and a space."""
    return payload.startswith(tuple(method + b" " for method in METHODS))


class Http:
    """States HTTP at a request line; one in absolute form, or CONNECT, is a request to a proxy.

    Without reassembly the line must be in a single segment.
    """

    def __init__(self, reading: Reading) -> None:
        self._joins = "tcp-segments" in reading.reassembles

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Inspect one segment."""
        payload = packet.payload
        request = _REQUEST.match(payload)
        if request is None:
            return UNFINISHED if self._joins and _is_begun(payload, b"\n") else None
        is_for_proxy = payload.startswith(b"CONNECT ") or b"://" in request[1][:10]
        proxy = (Fact("http-proxy"),) if is_for_proxy else ()
        return (Fact("http"), *proxy)


class HttpHost:
    """Reads the Host of the first request; without reassembly it must be in the first segment."""

    def __init__(self, reading: Reading) -> None:
        self._joins = "tcp-segments" in reading.reassembles

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Inspect one segment."""
        payload = packet.payload
        is_request = _REQUEST.match(payload) is not None
        host = _HOST.search(payload) if is_request else None
        if host is not None:
            return (Fact("host", _without_port(host[1])),)
        if self._joins and _is_begun(payload, b"\r\n\r\n"):
            return UNFINISHED
        return () if is_request else None


def _is_begun(stream: bytes, end: bytes) -> bool:
    """Return whether a stream may be the beginning of a request that is not complete yet."""
    begins = looks_like_http(stream) or any(method.startswith(stream) for method in METHODS)
    return begins and end not in stream and len(stream) < MAX_STREAM_BYTES


class HttpStart:
    """States `http-start` at a method, a space and 8 bytes in total, as Iran's filter of 2020 did.

    It joins the first two payloads of the end that sends first, and does not check that the rest is
    a request (Bock et al., "Detecting and Evading Censorship-in-Depth: A Case Study of Iran's
    Protocol Filter", FOCI 2020, 4.3).
    """

    def __init__(self) -> None:
        self._sender: Direction | None = None
        self._payloads: list[bytes] = []

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Inspect one segment."""
        if self._sender is None:
            self._sender = packet.direction
        if packet.direction is not self._sender:
            return None
        self._payloads.append(packet.payload)
        together = b"".join(self._payloads)
        if len(together) >= _LEAST_BYTES and together.startswith(_STARTS):
            return (Fact("http-start"),)
        return () if len(self._payloads) == _PAYLOADS else None


def _without_port(host: bytes) -> str:
    name, colon, port = host.decode("ascii", errors="backslashreplace").rpartition(":")
    return name if colon and port.isdigit() else name + colon + port


KINDS = (
    of_stream(("http", "http-proxy"), Http),
    of_stream(("host",), HttpHost),
    of_packets("tcp", ("http-start",), HttpStart, OPENING_PACKETS),
)
