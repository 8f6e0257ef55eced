"""What a managed transport says on its standard output, understood; pure: no process, no stream.

Source: pt-spec 1, section 3.3. `parse_reply` reads one line; a `Negotiation` hears all of them
until one transport is ready or cannot be; `LineSplitter` makes lines of what a pipe gives.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Literal, NamedTuple

from testbed.transport.interface import Address
from testbed.transport.pt.encoding import PROTOCOL_VERSION, decode_smethod_args, is_transport_name

MAX_LINE_BYTES = 16_384
"""What `LineSplitter` keeps of one line; the rest of a longer one is lost."""


class MalformedReplyError(ValueError):
    """A line with a known keyword that breaks pt-spec; the message quotes it."""


class Version(NamedTuple):
    """`VERSION 1`."""

    version: str


class LaunchError(NamedTuple):
    """`VERSION-ERROR`, `ENV-ERROR` or `PROXY-ERROR`: the program gives up."""

    keyword: str
    message: str


class MethodError(NamedTuple):
    """`CMETHOD-ERROR` or `SMETHOD-ERROR`: one transport cannot be had."""

    keyword: str
    transport: str
    message: str


class ClientMethod(NamedTuple):
    """`CMETHOD`: a SOCKS proxy of version 4 or 5 that leads into a transport."""

    transport: str
    socks_version: int
    address: Address


class ServerMethod(NamedTuple):
    """`SMETHOD`: a listening server, and the arguments that its clients need."""

    transport: str
    address: Address
    args: Mapping[str, str]


class Done(NamedTuple):
    """`PROXY DONE`, `CMETHODS DONE` or `SMETHODS DONE`."""

    keyword: str


class Remark(NamedTuple):
    """`LOG` or `STATUS`: values for a person, which change nothing."""

    keyword: str
    values: Mapping[str, str]


Reply = Version | LaunchError | MethodError | ClientMethod | ServerMethod | Done | Remark


def parse_reply(line: str) -> Reply | None:
    """Read one line without its LF; None: an unknown keyword, which pt-spec says to ignore.

    MalformedReplyError: a known keyword, and the rest is not what it must be.
    """
    keyword, _, rest = line.partition(" ")
    try:
        return _parse(keyword, rest)
    except ValueError as error:
        raise MalformedReplyError(f"malformed line {line[:200]!r}: {error}") from error


def _parse(keyword: str, rest: str) -> Reply | None:  # noqa: PLR0911 - one return per keyword
    match keyword:
        case "VERSION":
            return Version(_nonempty(rest, "version"))
        case "VERSION-ERROR" | "ENV-ERROR" | "PROXY-ERROR":
            return LaunchError(keyword, rest)
        case "PROXY" | "CMETHODS" | "SMETHODS":
            if rest != "DONE":
                raise ValueError(f"{keyword} must be followed by DONE")
            return Done(keyword)
        case "CMETHOD-ERROR" | "SMETHOD-ERROR":
            name, _, message = rest.partition(" ")
            return MethodError(keyword, _transport_name(name), message)
        case "CMETHOD":
            return _parse_client_method(rest)
        case "SMETHOD":
            return _parse_server_method(rest)
        case "LOG" | "STATUS":
            return Remark(keyword, parse_quoted_values(rest))
    return None


def _parse_client_method(rest: str) -> ClientMethod:
    match rest.split(" "):
        case [name, ("socks4" | "socks5") as protocol, address, *_]:
            return ClientMethod(_transport_name(name), int(protocol[-1]), parse_address(address))
    raise ValueError("CMETHOD needs a name, socks4 or socks5, and an address")


def _parse_server_method(rest: str) -> ServerMethod:
    name, _, rest = rest.partition(" ")
    address, _, options = rest.partition(" ")
    args: dict[str, str] = {}
    for option in options.split(" "):
        if option.startswith("ARGS:"):
            args = decode_smethod_args(option.removeprefix("ARGS:"))
    return ServerMethod(_transport_name(name), parse_address(address), args)


def parse_address(text: str) -> Address:
    """Read `ip:port`, an IPv6 address in brackets. ValueError: not that."""
    host, _, port = text.rpartition(":")
    family = socket.AF_INET
    if host.startswith("[") and host.endswith("]"):
        host, family = host[1:-1], socket.AF_INET6
    try:
        socket.inet_pton(family, host)
    except (OSError, ValueError):
        raise ValueError(f"{text!r} is not an IP address and a port") from None
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) <= 0xFFFF):
        raise ValueError(f"{text!r} has no port from 1 to 65535")
    return Address(host, int(port))


_C_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
_OCTAL = frozenset("01234567")


def parse_quoted_values(text: str) -> dict[str, str]:
    """Read `k=v k="quoted v"` of LOG and STATUS (pt-spec, 3.3.4 and 3.3.5).

    A quoted value is a C string with `\\n`, `\\t`, `\\r`, octal bytes and backslash-escaped
    characters. ValueError: no `=`, an open quote, or text right after a closing one.
    """
    values: dict[str, str] = {}
    at = 0
    while at < len(text):
        if text[at] == " ":
            at += 1
            continue
        equals = text.find("=", at)
        key = text[at:equals] if equals > at else ""
        if not key or " " in key:
            raise ValueError(f"no key=value at character {at} of the values")
        if text[equals + 1 : equals + 2] == '"':
            values[key], at = _parse_c_string(text, equals + 2)
            if at < len(text) and text[at] != " ":
                raise ValueError(f"text after the closing quote of {key}")
        else:
            value, _, _ = text[equals + 1 :].partition(" ")
            values[key], at = value, equals + 1 + len(value)
    return values


def _parse_c_string(text: str, at: int) -> tuple[str, int]:
    """Read up to the closing quote; give the string and where its rest begins."""
    value = bytearray()
    while at < len(text):
        char = text[at]
        at += 1
        if char == '"':
            return value.decode(errors="backslashreplace"), at
        if char == "\\" and at < len(text):
            octal = at
            while octal < min(at + 3, len(text)) and text[octal] in _OCTAL:
                octal += 1
            if octal > at:
                value.append(int(text[at:octal], 8) & 0xFF)
                at = octal
                continue
            char = _C_ESCAPES.get(text[at], text[at])
            at += 1
        value += char.encode(errors="surrogatepass")
    raise ValueError("a quote is never closed")


class LineSplitter:
    """Makes lines of chunks of bytes; holds at most `MAX_LINE_BYTES` of an unfinished line."""

    def __init__(self) -> None:
        """Begin with an empty line."""
        self._unfinished = bytearray()

    def feed(self, chunk: bytes | bytearray) -> list[str]:
        """Take a chunk; give the lines that it ends, without LF (nor CR before it)."""
        *ended, rest = chunk.split(b"\n")
        lines: list[str] = []
        for part in ended:
            lines.append(self._text(part))
            self._unfinished.clear()
        self._unfinished += rest[: MAX_LINE_BYTES - len(self._unfinished)]
        return lines

    def finish(self) -> str:
        """Give what came after the last LF, at the end of the stream."""
        return self._text(b"")

    def _text(self, part: bytes | bytearray) -> str:
        line = bytes(self._unfinished) + part[: MAX_LINE_BYTES - len(self._unfinished)]
        return line.removesuffix(b"\r").decode(errors="backslashreplace")


class NegotiationError(Exception):
    """The program said that, or showed how, one transport cannot be had from it."""


class Negotiation:
    """Hears the lines of a program that was asked for one transport.

    `method` is set by the reply that offers it; `done` by `CMETHODS DONE` or `SMETHODS DONE`
    after it. Lines may come in any order before that.
    """

    def __init__(
        self, transport: str, *, side: Literal["client", "server"], proxy: bool = False
    ) -> None:
        """Expect `side` ("client" or "server") of a transport; PROXY DONE too if `proxy`."""
        self.method: ClientMethod | ServerMethod | None = None
        self.done = False
        self._transport = transport
        self._ending = {"client": "CMETHODS", "server": "SMETHODS"}[side]
        self._missing = {"VERSION"} | ({"PROXY"} if proxy else set())
        self._others: list[str] = []

    def hear(self, reply: Reply) -> None:
        """Take the next reply. NegotiationError: the transport cannot be had, and why."""
        match reply:
            case Version(version):
                if version != PROTOCOL_VERSION:
                    raise NegotiationError(
                        f"it speaks version {version} of the protocol, not {PROTOCOL_VERSION}"
                    )
                self._missing.discard("VERSION")
            case LaunchError(keyword, message):
                raise NegotiationError(f"{keyword}: {message or 'it gave no reason'}")
            case MethodError(keyword, transport, message):
                if transport == self._transport and keyword[0] == self._ending[0]:
                    raise NegotiationError(f"{keyword}: {message or 'it gave no reason'}")
            case ClientMethod() | ServerMethod():
                self._hear_method(reply)
            case Done(keyword):
                self._missing.discard(keyword)
                if keyword == self._ending:
                    self._finish()

    def _hear_method(self, reply: ClientMethod | ServerMethod) -> None:
        wanted = ClientMethod if self._ending == "CMETHODS" else ServerMethod
        if isinstance(reply, wanted) and reply.transport == self._transport:
            self.method = reply
        else:
            self._others.append(reply.transport)

    def _finish(self) -> None:
        if self.method is None:
            offered = f"it offers {', '.join(self._others[:10])}" if self._others else "it has none"
            raise NegotiationError(f"{self._ending} DONE without this transport: {offered}")
        if "VERSION" in self._missing:
            raise NegotiationError("it never said VERSION, which Tor insists on")
        if "PROXY" in self._missing:
            raise NegotiationError("it never said PROXY DONE: it would not use the proxy")
        self.done = True


def _transport_name(name: str) -> str:
    if not is_transport_name(name):
        raise ValueError(f"{name!r} is not a transport name")
    return name


def _nonempty(text: str, what: str) -> str:
    if not text:
        raise ValueError(f"no {what}")
    return text
