"""Parses what a managed transport says on its standard output, and follows the negotiation.

A client that offers obfs4 says, for example:

    VERSION 1
    CMETHOD obfs4 socks5 127.0.0.1:43210
    CMETHODS DONE

and a server `SMETHOD obfs4 192.0.2.1:443 ARGS:cert=…,iat-mode=0` and `SMETHODS DONE`. Instead of a
method there may be an error, and anywhere a remark for people (LOG, STATUS).

`LineSplitter` turns chunks of bytes into lines, `parse_reply` turns a line into a reply, and a
`Negotiation` collects replies until one transport is ready or cannot be. All are pure: they touch
no process and no stream. Source: pt-spec 1, section 3.3.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from testbed.transport.interface import Address
from testbed.transport.pt.encoding import PROTOCOL_VERSION, decode_smethod_args, is_transport_name

MAX_LINE_BYTES = 16_384
"""How much `LineSplitter` keeps of one line; the rest of a longer one is lost."""


class MalformedReplyError(ValueError):
    """A line with a known keyword violates pt-spec; the message quotes it."""


class Version(NamedTuple):
    """`VERSION 1`."""

    version: str


class LaunchError(NamedTuple):
    """`VERSION-ERROR`, `ENV-ERROR` or `PROXY-ERROR`: the program gives up."""

    keyword: str
    message: str


class MethodError(NamedTuple):
    """`CMETHOD-ERROR` or `SMETHOD-ERROR`: one transport is not available."""

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
    """`LOG` or `STATUS`: values for people, without any effect."""

    keyword: str
    values: Mapping[str, str]


Reply = Version | LaunchError | MethodError | ClientMethod | ServerMethod | Done | Remark


def parse_reply(line: str) -> Reply | None:
    """Return the reply that one line is (without its LF).

    None: its keyword is unknown, so that it must be ignored (pt-spec, 3.3).

    Raises:
        MalformedReplyError: The keyword is known, but the rest is wrong.
    """
    keyword, _, rest = line.partition(" ")
    parse = _PARSERS.get(keyword)
    if parse is None:
        return None
    try:
        return parse(keyword, rest)
    except ValueError as error:
        raise MalformedReplyError(f"malformed line {line[:200]!r}: {error}") from error


def _parse_version(_keyword: str, rest: str) -> Version:
    if not rest:
        raise ValueError("no version")
    return Version(rest)


def _parse_done(keyword: str, rest: str) -> Done:
    if rest != "DONE":
        raise ValueError(f"{keyword} must be followed by DONE")
    return Done(keyword)


def _parse_method_error(keyword: str, rest: str) -> MethodError:
    name, _, message = rest.partition(" ")
    return MethodError(keyword, _transport_name(name), message)


def _parse_client_method(_keyword: str, rest: str) -> ClientMethod:
    match rest.split(" "):
        case [name, ("socks4" | "socks5") as protocol, address, *_]:
            return ClientMethod(_transport_name(name), int(protocol[-1]), parse_address(address))
    raise ValueError("CMETHOD needs a name, socks4 or socks5, and an address")


def _parse_server_method(_keyword: str, rest: str) -> ServerMethod:
    name, _, rest = rest.partition(" ")
    address, _, options = rest.partition(" ")
    args: dict[str, str] = {}
    for option in options.split(" "):
        if option.startswith("ARGS:"):
            args = decode_smethod_args(option.removeprefix("ARGS:"))
    return ServerMethod(_transport_name(name), parse_address(address), args)


def _parse_remark(keyword: str, rest: str) -> Remark:
    return Remark(keyword, parse_quoted_values(rest))


_PARSERS: Mapping[str, Callable[[str, str], Reply]] = {
    "VERSION": _parse_version,
    **dict.fromkeys(("VERSION-ERROR", "ENV-ERROR", "PROXY-ERROR"), LaunchError),
    **dict.fromkeys(("PROXY", "CMETHODS", "SMETHODS"), _parse_done),
    **dict.fromkeys(("CMETHOD-ERROR", "SMETHOD-ERROR"), _parse_method_error),
    "CMETHOD": _parse_client_method,
    "SMETHOD": _parse_server_method,
    **dict.fromkeys(("LOG", "STATUS"), _parse_remark),
}
"""By keyword: what makes a reply of the keyword and the rest of the line."""


def parse_address(text: str) -> Address:
    """Return the address in `ip:port`, where an IPv6 address is in brackets.

    Raises:
        ValueError: The text is something else.
    """
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
    r"""Return the values in `k=v k="quoted v"` of LOG and STATUS (pt-spec, 3.3.4 and 3.3.5).

    A quoted value is a C string with `\n`, `\t`, `\r`, octal bytes and backslash-escaped
    characters.

    Raises:
        ValueError: There is no `=`, a quote is never closed, or text follows a closing quote.
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
    """Read up to the closing quote; return the string, and where the text goes on after it."""
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
    """Turns chunks of bytes into lines; keeps at most `MAX_LINE_BYTES` of an unfinished line."""

    def __init__(self) -> None:
        self._unfinished = bytearray()

    def feed(self, chunk: bytes | bytearray) -> list[str]:
        """Add a chunk; return the lines that it completes, without LF or CR LF."""
        *ended, rest = chunk.split(b"\n")
        lines: list[str] = []
        for part in ended:
            lines.append(self._text(part))
            self._unfinished.clear()
        self._unfinished += rest[: MAX_LINE_BYTES - len(self._unfinished)]
        return lines

    def finish(self) -> str:
        """Return what came after the last LF, at the end of the stream."""
        return self._text(b"")

    def _text(self, part: bytes | bytearray) -> str:
        line = bytes(self._unfinished) + part[: MAX_LINE_BYTES - len(self._unfinished)]
        return line.removesuffix(b"\r").decode(errors="backslashreplace")


class NegotiationError(Exception):
    """The program does not offer the transport; the message says why."""


class Negotiation:
    """Collects the replies of a program that was asked for one transport, in any order."""

    def __init__(
        self, transport: str, *, side: Literal["client", "server"], proxy: bool = False
    ) -> None:
        """Expect one side of a transport; with `proxy`, expect PROXY DONE as well."""
        self.method: ClientMethod | ServerMethod | None = None
        """The reply that offers the transport, once it has come."""
        self.done = False
        """Whether `CMETHODS DONE` or `SMETHODS DONE` has come after that."""
        self._transport = transport
        self._ending = {"client": "CMETHODS", "server": "SMETHODS"}[side]
        self._missing = {"VERSION"} | ({"PROXY"} if proxy else set())
        self._others: list[str] = []

    def handle(self, reply: Reply) -> None:
        """Process the next reply.

        Raises:
            NegotiationError: The program does not offer the transport.
        """
        match reply:
            case Version():
                self._handle_version(reply)
            case LaunchError():
                raise _refusal(reply)
            case MethodError():
                if reply.transport == self._transport and reply.keyword[0] == self._ending[0]:
                    raise _refusal(reply)
            case ClientMethod() | ServerMethod():
                self._handle_method(reply)
            case Done(keyword):
                self._missing.discard(keyword)
                if keyword == self._ending:
                    self._finish()

    def _handle_version(self, reply: Version) -> None:
        if reply.version != PROTOCOL_VERSION:
            raise NegotiationError(
                f"it speaks version {reply.version} of the protocol, not {PROTOCOL_VERSION}"
            )
        self._missing.discard("VERSION")

    def _handle_method(self, reply: ClientMethod | ServerMethod) -> None:
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
            raise NegotiationError("it never said VERSION, which Tor requires")
        if "PROXY" in self._missing:
            raise NegotiationError("it never said PROXY DONE: it would not use the proxy")
        self.done = True


def _refusal(reply: LaunchError | MethodError) -> NegotiationError:
    return NegotiationError(f"{reply.keyword}: {reply.message or 'it gave no reason'}")


def _transport_name(name: str) -> str:
    if not is_transport_name(name):
        raise ValueError(f"{name!r} is not a transport name")
    return name
