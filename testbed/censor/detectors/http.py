"""Recognises HTTP/1 and reads the Host of its first request; nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence

from testbed.censor.facts import Fact
from testbed.censor.packet import Packet

METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH")
"""RFC 9110, 9.3, and RFC 5789."""
_REQUEST = re.compile(rb"(?:%s) (\S{1,8000}) HTTP/1\.[01]\r?\n" % b"|".join(METHODS))
_HOST = re.compile(rb"\nhost:[ \t]*([^\r\n]{1,255}?)[ \t]*\r?\n", re.IGNORECASE)


def looks_like_http(payload: bytes) -> bool:
    """Tell whether it begins with a method and a space."""
    return payload.startswith(tuple(method + b" " for method in METHODS))


class Http:
    """States it at a request line; a request in absolute form, or CONNECT, is one to a proxy.

    A Host has to be in the same segment.
    """

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Look at one segment."""
        request = _REQUEST.match(packet.payload)
        if request is None:
            return None
        is_for_proxy = packet.payload.startswith(b"CONNECT ") or b"://" in request[1][:10]
        proxy = (Fact("http-proxy"),) if is_for_proxy else ()
        host = _HOST.search(packet.payload)
        named = () if host is None else (Fact("host", _without_port(host[1])),)
        return (Fact("http"), *proxy, *named)


def _without_port(host: bytes) -> str:
    name, colon, port = host.decode("ascii", errors="backslashreplace").rpartition(":")
    return name if colon and port.isdigit() else name + colon + port
