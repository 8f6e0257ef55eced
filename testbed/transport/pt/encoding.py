"""How arguments and settings are written for a pluggable transport; pure: no file, no process.

Sources: pt-spec 1, sections 3.2 (environment), 3.3.3 (SMETHOD ARGS) and 3.5 (arguments of a
connection); RFC 1929 (username and password).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from testbed.transport.interface import Address

PROTOCOL_VERSION = "1"
"""The only version of the managed-transport protocol that is spoken here (pt-spec, 3.2.1)."""

MAX_CREDENTIAL_BYTES = 255
"""The longest username and the longest password of RFC 1929."""


class ExtendedOrPort(NamedTuple):
    """Where an Extended ORPort listens, and the file that has its cookie."""

    address: Address
    cookie_file: Path


def encode_smethod_args(args: Mapping[str, str]) -> str:
    """Write arguments as in `SMETHOD … ARGS:` (pt-spec, 3.3.3). ValueError: a NUL or no key."""
    return _encode_pairs(args, separator=",", special="\\=,")


def decode_smethod_args(text: str) -> dict[str, str]:
    """Read the arguments of `SMETHOD … ARGS:`. ValueError: a pair without `=`, a lone backslash."""
    return _decode_pairs(text, separator=",")


def encode_socks_args(args: Mapping[str, str]) -> str:
    """Write arguments for one SOCKS connection (pt-spec, 3.5). ValueError: a NUL or no key."""
    return _encode_pairs(args, separator=";", special="\\=;")


def decode_socks_args(text: str) -> dict[str, str]:
    """Read the arguments of one SOCKS connection. ValueError as in `decode_smethod_args`."""
    return _decode_pairs(text, separator=";")


def encode_server_options(name: str, options: Mapping[str, str]) -> str:
    """Write TOR_PT_SERVER_TRANSPORT_OPTIONS for one transport (pt-spec, 3.2.3)."""
    _check_pairs(options)
    key_special, value_special = "\\=:;", "\\:;"
    return ";".join(
        f"{name}:{_escape(key, key_special)}={_escape(value, value_special)}"
        for key, value in options.items()
    )


def decode_server_options(text: str) -> dict[str, dict[str, str]]:
    """Read TOR_PT_SERVER_TRANSPORT_OPTIONS: by transport. ValueError: malformed."""
    options: dict[str, dict[str, str]] = {}
    for part in _split(text, ";") if text else ():
        name, colon, pair = _partition(part, ":")
        if not colon:
            raise ValueError(f"no transport name in option {part!r}")
        key, value = _decode_pair(pair)
        options.setdefault(_unescape(name), {})[key] = value
    return options


def socks5_credentials(args: Mapping[str, str]) -> tuple[bytes, bytes]:
    """Split arguments into the username and password of RFC 1929 (pt-spec, 3.5).

    What fits stays in the username, and the password is then one NUL byte. ValueError: longer
    than both together, or a NUL in an argument.
    """
    encoded = encode_socks_args(args).encode()
    username, password = encoded[:MAX_CREDENTIAL_BYTES], encoded[MAX_CREDENTIAL_BYTES:]
    if len(password) > MAX_CREDENTIAL_BYTES:
        raise ValueError(
            f"arguments of {len(encoded)} bytes: SOCKS5 carries at most {2 * MAX_CREDENTIAL_BYTES}"
        )
    return username, password or b"\0"


def socks4_userid(args: Mapping[str, str]) -> bytes:
    """Write arguments as SOCKS4's USERID, without its final NUL. ValueError: a NUL in them."""
    return encode_socks_args(args).encode()


def client_environment(
    name: str, *, state_location: Path, proxy: str | None = None
) -> dict[str, str]:
    """Give the environment of a client for one transport (pt-spec, 3.2.1 and 3.2.2)."""
    environment = {**_common(state_location), "TOR_PT_CLIENT_TRANSPORTS": name}
    if proxy is not None:
        environment["TOR_PT_PROXY"] = proxy
    return environment


def server_environment(
    name: str,
    *,
    state_location: Path,
    listen: Address,
    orport: Address | None = None,
    options: Mapping[str, str] | None = None,
    extended_orport: ExtendedOrPort | None = None,
) -> dict[str, str]:
    """Give the environment of a server for one transport (pt-spec, 3.2.1 and 3.2.3).

    ValueError: neither ORPort, or options that cannot be written.
    """
    if orport is None and extended_orport is None:
        raise ValueError("a server needs an ORPort or an Extended ORPort")
    environment = {
        **_common(state_location),
        "TOR_PT_SERVER_TRANSPORTS": name,
        "TOR_PT_SERVER_BINDADDR": f"{name}-{_bracketed(listen)}",
    }
    if options:
        environment["TOR_PT_SERVER_TRANSPORT_OPTIONS"] = encode_server_options(name, options)
    if orport is not None:
        environment["TOR_PT_ORPORT"] = _bracketed(orport)
    if extended_orport is not None:
        environment["TOR_PT_EXTENDED_SERVER_PORT"] = _bracketed(extended_orport.address)
        environment["TOR_PT_AUTH_COOKIE_FILE"] = str(extended_orport.cookie_file.absolute())
    return environment


def outbound_bind_environment(source: str) -> dict[str, str]:
    """Name the IP address that a program's own connections leave from (pt-spec, 3.2.1)."""
    if ":" in source:
        return {"TOR_PT_OUTBOUND_BIND_ADDRESS_V6": f"[{source}]"}
    return {"TOR_PT_OUTBOUND_BIND_ADDRESS_V4": source}


def is_transport_name(name: str) -> bool:
    """Whether `name` matches `[a-zA-Z_][a-zA-Z0-9_]*` (pt-spec, 3.1)."""
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
            raise ValueError(f"an argument without a name (its value is {value!r})")
        if "\0" in key or "\0" in value:
            raise ValueError(f"argument {key!r} contains a NUL byte, which no side can carry")


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
    """Part text at its first unescaped separator, as `str.partition` does."""
    escaped = False
    for at, char in enumerate(text):
        if char == separator and not escaped:
            return text[:at], char, text[at + 1 :]
        escaped = char == "\\" and not escaped
    return text, "", ""


def _split(text: str, separator: str) -> Iterator[str]:
    """Part text at every unescaped separator."""
    found = separator
    while found:
        part, found, text = _partition(text, separator)
        yield part
