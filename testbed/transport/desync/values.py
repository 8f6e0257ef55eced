"""Read the values of options: numbers, ports, limits, markers, bytes and files."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network

from testbed.transport.desync.strategy import (
    ANY_PORT,
    AutoTtl,
    Fake,
    FakeKind,
    Limit,
    Marker,
    StrategyError,
)

ReadFile = Callable[[str], bytes | None]
"""Returns the content of a file that is here, or None."""
_AUTO_TTL = re.compile(r"([+-]?)(\d+)?(?::(\d+)(?:-(\d+))?)?")
_MARKER = re.compile(r"(method|host|endhost|sld|endsld|midsld|sniext)?([+-]?\d+)?")
_FLAGS = {"FIN": 1, "SYN": 2, "RST": 4, "PSH": 8, "ACK": 16, "URG": 32, "ECE": 64, "CWR": 128}
_NAMED_FAKE = re.compile(r"^(tls_clienthello|quic_initial|http_\w*?)_(.+?)$")
"""Files of zapret's: what they are, and the name of the server with `_` for a dot."""
_KNOWN_FILES: dict[str, FakeKind] = {"tls": "tls", "quic": "quic", "http": "http", "stun": "stun"}
_KNOWN_CONTENTS = {
    "wireguard_init": b"\1\0\0\0" + bytes(144),
    "discord-ip-disc": b"\0\1\0\x46" + bytes(70),
}
_ZEROS = re.compile(r"zero_(\d{1,4})")


def number(name: str, value: str | None) -> int:
    """Return a whole number, decimal or as `0x…`.

    Raises:
        StrategyError: It is none.
    """
    try:
        return int(value or "", 0)
    except ValueError:
        raise StrategyError(f"--{name}={value or ''}: a whole number is expected") from None


def ports(name: str, value: str | None) -> tuple[range, ...]:
    """Return ranges of ports from `1-5,7`, `*` or, for all others, `~80`.

    Raises:
        StrategyError: They are none.
    """
    found: list[range] = []
    for part in (value or "").split(","):
        low, _, high = part.removeprefix("~").partition("-")
        if part == "*":
            found.append(ANY_PORT)
            continue
        try:
            span = range(int(low), int(high or low) + 1)
        except ValueError:
            span = range(0)
        if not span or span.stop > len(ANY_PORT) or span.start < 0:
            raise StrategyError(f"--{name}={value or ''}: {part!r} is no port or range of ports")
        if part.startswith("~"):
            found += [range(span.start), range(span.stop, len(ANY_PORT))]
        else:
            found.append(span)
    return tuple(each for each in found if each)


def limit(name: str, value: str | None) -> Limit:
    """Return a limit from `n3`, `d2`, `s100` or `3`.

    Raises:
        StrategyError: It is none.
    """
    found = re.fullmatch(r"([nds]?)(\d+)", value or "")
    if found is None:
        raise StrategyError(f"--{name}={value or ''}: a number such as n3, d2 or s100 is expected")
    digits = int(found[2])
    match found[1]:
        case "d":
            return Limit("d", digits)
        case "s":
            return Limit("s", digits)
    return Limit("n", digits)


def auto_ttl(name: str, value: str | None, default: AutoTtl) -> AutoTtl | None:
    """Return an automatic TTL from `2`, `-1:3-20`, or None for `-` and `0:0-0`.

    A number without a sign is negative (zapret, docs/readme.en.md, "autottl").

    Raises:
        StrategyError: It is none.
    """
    if value in ("-", "0:0-0"):
        return None
    found = _AUTO_TTL.fullmatch(value or "")
    if found is None:
        raise StrategyError(f"--{name}={value}: expected is [+|-]DELTA[:MIN[-MAX]]")
    sign, delta, least, most = found.groups()
    return AutoTtl(
        default.delta if delta is None else int(delta) * (1 if sign == "+" else -1),
        default.least if least is None else int(least),
        default.most if most is None else int(most),
    )


def markers(name: str, value: str | None) -> tuple[Marker, ...]:
    """Return positions from `1,midsld,host+2,-10`.

    Raises:
        StrategyError: One is unknown.
    """
    found = []
    for part in (value or "").split(","):
        parsed = _MARKER.fullmatch(part)
        if parsed is None or not part:
            raise StrategyError(
                f"--{name}={value or ''}: {part!r} is neither an offset nor one of method, host, "
                "endhost, sld, endsld, midsld, sniext"
            )
        found.append(Marker(parsed[1] or "", int(parsed[2] or 0)))
    return tuple(found)


def tcp_flags(name: str, value: str | None) -> int:
    """Return TCP flags from a number or `SYN,ACK`.

    Raises:
        StrategyError: One is unknown.
    """
    if re.fullmatch(r"0x[0-9A-Fa-f]+|\d+", value or ""):
        return number(name, value) & 0xFF
    names = (value or "").upper().split(",")
    if unknown := [flag for flag in names if flag not in _FLAGS]:
        raise StrategyError(f"--{name}={value or ''}: there is no TCP flag {unknown[0]!r} here")
    return sum({_FLAGS[flag] for flag in names})


def networks(name: str, values: Sequence[str]) -> tuple[IPv4Network, ...]:
    """Return the IPv4 networks of a list; those of IPv6 are left out, as the lab's calls use none.

    Raises:
        StrategyError: One is no network.
    """
    found: list[IPv4Network] = []
    for value in values:
        try:
            network: IPv4Network | IPv6Network = ip_network(value, strict=False)
        except ValueError:
            raise StrategyError(f"--{name}: {value!r} is no address or network") from None
        if isinstance(network, IPv4Network):
            found.append(network)
    return tuple(found)


def blob(name: str, value: str | None, read: ReadFile) -> tuple[bytes | None, str]:
    """Return the bytes of `0xHEX` or of a file, and the file's name; None if it is not here.

    Raises:
        StrategyError: The value is malformed, or the file is empty.
    """
    text = value or ""
    if text.lower().startswith("0x"):
        try:
            content = bytes.fromhex(text[2:])
        except ValueError:
            raise StrategyError(f"--{name}={text}: what follows 0x is not hexadecimal") from None
        file = ""
    else:
        found = re.fullmatch(r"(?:\+(\d+)@|@)?(.+)", text)
        if found is None:
            raise StrategyError(f"--{name}: a file or 0xHEX is expected")
        file = found[2]
        all_of_it = read(file)
        if all_of_it is None:
            return None, file
        content = all_of_it[int(found[1] or 0) :]
    if not content:
        raise StrategyError(f"--{name}={text}: there are no bytes")
    return content, file


def stand_in(file: str) -> Fake | None:
    """Return a made fake for a known file of the tools that is not here; None: it is not known."""
    stem = re.split(r"[/\\]", file)[-1].rsplit(".", 1)[0].lower()
    kind = next((kind for start, kind in _KNOWN_FILES.items() if stem.startswith(start)), None)
    if kind is None:
        zeros = _ZEROS.match(stem)
        contents = [made for start, made in _KNOWN_CONTENTS.items() if stem.startswith(start)]
        if zeros is not None and int(zeros[1]):
            contents.append(bytes(int(zeros[1])))
        return Fake(content=contents[0]) if contents else None
    named = _NAMED_FAKE.match(stem)
    server = named[2].replace("_", ".") if named is not None else ""
    return Fake(kind, name=server if "." in server else "www.google.com")
