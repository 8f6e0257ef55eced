"""Rewrite the session descriptions in SIP messages so that media goes through a relay.

This is what a provider's session border controller does. `take_message` cuts SIP messages out of a
stream, `with_relay` replaces the media addresses in them, and `Latch` is the media relay.
"""

from __future__ import annotations

import re

from testbed.transport.interface import Address

_HEAD_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"^(?:content-length|l)[ \t]*:[ \t]*(\d+)", re.IGNORECASE | re.MULTILINE)
MAX_MESSAGE_BYTES = 65536
"""A longer head or body on a stream is an error."""


def take_message(unparsed: bytearray) -> bytes | None:
    """Remove the first complete SIP message from a stream's bytes and return it (RFC 3261, 18.3).

    None means that it is not complete yet. Blank lines before it, which keep a connection alive,
    are removed, too.

    Raises:
        ValueError: The message is too long, or has no Content-Length, which is required on streams.
    """
    while unparsed[:2] == b"\r\n":
        del unparsed[:2]
    end = unparsed.find(_HEAD_END)
    if end < 0:
        if len(unparsed) > MAX_MESSAGE_BYTES:
            raise ValueError(f"a SIP message whose head is longer than {MAX_MESSAGE_BYTES} bytes")
        return None
    head = bytes(unparsed[: end + len(_HEAD_END)])
    found = _LENGTH.search(head)
    if found is None or (length := int(found[1])) > MAX_MESSAGE_BYTES:
        raise ValueError("a SIP message without a Content-Length, or too long")
    whole = len(head) + length
    if len(unparsed) < whole:
        return None
    message = bytes(unparsed[:whole])
    del unparsed[:whole]
    return message


def with_relay(message: bytes, relay: Address) -> bytes:
    """Return a SIP message with its media addresses replaced by that of `relay`.

    A message without a session description (SDP, RFC 8866) is unchanged; refused media, with port
    0, stays refused.
    """
    head, _, body = message.partition(_HEAD_END)
    if b"\nm=" not in body:
        return message
    host = relay.host.encode()
    body = re.sub(rb"(?m)^c=IN IP4 \S+", b"c=IN IP4 " + host, body)
    body = re.sub(rb"(?m)^(m=\w+) [1-9]\d*", rb"\g<1> %d" % relay.port, body)
    body = re.sub(rb"(?m)^a=rtcp:[^\r\n]*\r?\n", b"", body)
    head = _LENGTH.sub(b"Content-Length: %d" % len(body), head, count=1)
    return head + _HEAD_END + body


class Latch:
    """A media relay with one port that forwards between the first two ends that send to it."""

    def __init__(self) -> None:
        self._ends: list[Address] = []
        self.shortcuts: dict[tuple[Address, bytes], Address] = {}
        """Empty: all kinds of datagrams share an end's port."""

    def on_datagram(self, datagram: bytes, source: Address) -> tuple[bytes, Address] | None:
        """Return the datagram to send in response and its destination, or None."""
        if source not in self._ends and len(self._ends) < 2:
            self._ends.append(source)
        if source not in self._ends or len(self._ends) < 2:
            return None
        return datagram, self._ends[1 - self._ends.index(source)]
