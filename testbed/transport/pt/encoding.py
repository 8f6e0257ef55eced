"""Encodes what a pluggable transport is told: environment variables and arguments.

Arguments are `key=value` pairs in one string. The same pairs are written in three ways, which
differ in their separator and in what a backslash must escape:

- between programs, in `SMETHOD … ARGS:`, by commas (pt-spec 1, 3.3.3);
- for one connection, in SOCKS credentials, by semicolons (3.5, and RFC 1929);
- as the operator's options, in TOR_PT_SERVER_TRANSPORT_OPTIONS, by semicolons and each with the
  transport's name in front (3.2.3).

The functions are pure: they touch no file and no process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from testbed.transport.interface import Address

PROTOCOL_VERSION = "1"
"""The only version of the managed-transport protocol that is implemented (pt-spec, 3.2.1)."""

MAX_CREDENTIAL_BYTES = 255
"""The longest username and the longest password of RFC 1929."""


class ExtendedOrPort(NamedTuple):
    """Where an Extended ORPort listens, and the file that has its cookie."""

    address: Address
    cookie_file: Path


def encode_smethod_args(args: Mapping[str, str]) -> str:
    """Return arguments as in `SMETHOD … ARGS:` (pt-spec, 3.3.3).

    Raises:
        ValueError: A key is empty, or there is a NUL byte.
    """
    return _encode_pairs(args, separator=",", special="\\=,")


def decode_smethod_args(text: str) -> dict[str, str]:
    """Return the arguments of `SMETHOD … ARGS:`.

    Raises:
        ValueError: A pair lacks `=`, or a backslash ends the text.
    """
    return _decode_pairs(text, separator=",")


def encode_socks_args(args: Mapping[str, str]) -> str:
    """Return arguments as for one SOCKS connection (pt-spec, 3.5).

    Raises:
        ValueError: A key is empty, or there is a NUL byte.
    """
    return _encode_pairs(args, separator=";", special="\\=;")


def decode_socks_args(text: str) -> dict[str, str]:
    """Return the arguments of one SOCKS connection.

    Raises:
        ValueError: A pair lacks `=`, or a backslash ends the text.
    """
    return _decode_pairs(text, separator=";")


def encode_server_options(name: str, options: Mapping[str, str]) -> str:
    """Return TOR_PT_SERVER_TRANSPORT_OPTIONS for one transport (pt-spec, 3.2.3).

    Raises:
        ValueError: A key is empty, or there is a NUL byte.
    """
    _check_pairs(options)
    key_special, value_special = "\\=:;", "\\:;"
    return ";".join(
        f"{name}:{_escape(key, key_special)}={_escape(value, value_special)}"
        for key, value in options.items()
    )


def decode_server_options(text: str) -> dict[str, dict[str, str]]:
    """Return the options in TOR_PT_SERVER_TRANSPORT_OPTIONS, by transport.

    Raises:
        ValueError: The text is malformed.
    """
    options: dict[str, dict[str, str]] = {}
    for part in _split(text, ";") if text else ():
        name, colon, pair = _partition(part, ":")
        if not colon:
            raise ValueError(f"no transport name in option {part!r}")
        key, value = _decode_pair(pair)
        options.setdefault(_unescape(name), {})[key] = value
    return options


def socks5_credentials(args: Mapping[str, str]) -> tuple[bytes, bytes]:
    """Return arguments as the username and password of RFC 1929 (pt-spec, 3.5).

    The password has what does not fit into the username, or else one NUL byte, since it must not
    be empty.

    Raises:
        ValueError: The arguments are longer than both together, or have a NUL byte.
    """
    encoded = encode_socks_args(args).encode()
    username, password = encoded[:MAX_CREDENTIAL_BYTES], encoded[MAX_CREDENTIAL_BYTES:]
    if len(password) > MAX_CREDENTIAL_BYTES:
        raise ValueError(
            f"arguments of {len(encoded)} bytes: SOCKS5 carries at most {2 * MAX_CREDENTIAL_BYTES}"
        )
    return username, password or b"\0"


def socks4_userid(args: Mapping[str, str]) -> bytes:
    """Return arguments as SOCKS4's USERID, without its final NUL.

    Raises:
        ValueError: A key is empty, or there is a NUL byte.
    """
    return encode_socks_args(args).encode()


def client_environment(
    name: str, *, state_location: Path, proxy: str | None = None
) -> dict[str, str]:
    """Return the environment of a client for one transport (pt-spec, 3.2.1 and 3.2.2)."""
    environment = {**_common(state_location), "TOR_PT_CLIENT_TRANSPORTS": name}
    if proxy is not None:
        environment["TOR_PT_PROXY"] = proxy
    return environment


def server_environment(
    name: str,
    *,
    state_location: Path,
    listen: Address,
    orport: Address | ExtendedOrPort,
    options: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the environment of a server for one transport (pt-spec, 3.2.1 and 3.2.3).

    Raises:
        ValueError: The options cannot be encoded.
    """
    environment = {
        **_common(state_location),
        "TOR_PT_SERVER_TRANSPORTS": name,
        "TOR_PT_SERVER_BINDADDR": f"{name}-{_bracketed(listen)}",
    }
    if options:
        environment["TOR_PT_SERVER_TRANSPORT_OPTIONS"] = encode_server_options(name, options)
    if isinstance(orport, ExtendedOrPort):
        environment["TOR_PT_EXTENDED_SERVER_PORT"] = _bracketed(orport.address)
        environment["TOR_PT_AUTH_COOKIE_FILE"] = str(orport.cookie_file.absolute())
    else:
        environment["TOR_PT_ORPORT"] = _bracketed(orport)
    return environment


def is_transport_name(name: str) -> bool:
    """Return whether `name` matches `[a-zA-Z_][a-zA-Z0-9_]*` (pt-spec, 3.1)."""
    return name.isascii() and name.isidentifier()


def _common(state_location: Path) -> dict[str, str]:
    return {
        "TOR_PT_MANAGED_TRANSPORT_VER": PROTOCOL_VERSION,
        "TOR_PT_STATE_LOCATION": str(state_location.absolute()),
        "TOR_PT_EXIT_ON_STDIN_CLOSE": "1",
    }


def _bracketed(address: Address) -> str:
    return f"[{address.host}]:{address.port}" if ":" in address.host else str(address)


def _encode_pairs(args: Mapping[str, str], *, separator: str, special: str) -> str:
    _check_pairs(args)
    return separator.join(
        f"{_escape(key, special)}={_escape(value, special)}" for key, value in args.items()
    )


def _check_pairs(args: Mapping[str, str]) -> None:
    for key, value in args.items():
        if not key:
            raise ValueError(f"an argument has no name (its value is {value!r})")
        if "\0" in key or "\0" in value:
            raise ValueError(f"argument {key!r} contains a NUL byte, which cannot be encoded")


def _decode_pairs(text: str, *, separator: str) -> dict[str, str]:
    return dict(map(_decode_pair, _split(text, separator))) if text else {}


def _decode_pair(text: str) -> tuple[str, str]:
    key, equals, value = _partition(text, "=")
    if not equals or not key:
        raise ValueError(f"not of the form key=value: {text!r}")
    return _unescape(key), _unescape(value)


def _escape(text: str, special: str) -> str:
    return "".join(f"\\{char}" if char in special else char for char in text)


def _unescape(text: str) -> str:
    chars = iter(text)
    return "".join(_after_backslash(chars, text) if char == "\\" else char for char in chars)


def _after_backslash(chars: Iterator[str], text: str) -> str:
    for char in chars:
        return char
    raise ValueError(f"a lone backslash ends {text!r}")


def _partition(text: str, separator: str) -> tuple[str, str, str]:
    """Split text at its first unescaped separator, as `str.partition` does."""
    escaped = False
    for at, char in enumerate(text):
        if char == separator and not escaped:
            return text[:at], char, text[at + 1 :]
        escaped = char == "\\" and not escaped
    return text, "", ""


def _split(text: str, separator: str) -> Iterator[str]:
    """Split text at every unescaped separator."""
    found = separator
    while found:
        part, found, text = _partition(text, separator)
        yield part
