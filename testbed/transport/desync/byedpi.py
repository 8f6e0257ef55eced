"""Read a command line of byedpi (ciadpi) as a strategy.

byedpi is a SOCKS proxy that sends the first request of a connection in pieces, some of them late:
it sends them with a TTL of 1, so that the kernel sends them again when the others have arrived.
Here the pieces leave in the order in which they arrive there, and apply to all of a node's TCP.
Datagrams are changed only by `--udp-fake`. What an option means is read from byedpi's README.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from testbed.errors import did_you_mean
from testbed.transport.desync import values
from testbed.transport.desync.command_line import options
from testbed.transport.desync.named_files import Lists
from testbed.transport.desync.strategy import (
    ANY_PORT,
    Disguise,
    Fake,
    Filter,
    Layer7,
    Limit,
    Marker,
    Original,
    Pieces,
    Strategy,
    StrategyError,
    Tactic,
)

_SHORT = {
    **{"i": "ip", "p": "port", "D": "daemon", "w": "pidfile", "E": "transparent"},
    **{"c": "max-conn", "I": "conn-ip", "b": "buf-size", "g": "def-ttl", "N": "no-domain"},
    **{"U": "no-udp", "F": "tfo", "A": "auto", "L": "auto-mode", "u": "cache-ttl"},
    **{"y": "cache-dump", "T": "timeout", "K": "proto", "H": "hosts", "j": "ipset", "V": "pf"},
    **{"R": "round", "s": "split", "d": "disorder", "o": "oob", "q": "disoob", "f": "fake"},
    **{"t": "ttl", "S": "md5sig", "O": "fake-offset", "l": "fake-data", "e": "oob-data"},
    **{"n": "fake-sni", "Q": "fake-tls-mod", "M": "mod-http", "r": "tlsrec", "m": "tlsminor"},
    **{"a": "udp-fake", "Y": "drop-sack", "x": "debug"},
}
_FLAGS = {"daemon", "transparent", "no-domain", "no-udp", "tfo", "md5sig", "drop-sack"}
_WITHOUT_EFFECT = {
    *("ip", "port", "daemon", "pidfile", "transparent", "max-conn", "conn-ip", "buf-size"),
    *("no-domain", "no-udp", "tfo", "auto-mode", "cache-ttl", "cache-dump", "timeout", "debug"),
}
"""Options of the proxy itself, which change no packet."""
_LOST: Mapping[str, str] = {
    "oob": "no byte would be sent out of band",
    "disoob": "no byte would be sent out of band",
    "oob-data": "no byte would be sent out of band",
    "fake-offset": "fakes would begin elsewhere",
    "fake-tls-mod": "fakes would keep their form and size",
    "mod-http": "HTTP headers would keep their form",
    "tlsrec": "the ClientHello would stay in one TLS record",
    "tlsminor": "TLS records would keep their version",
    "drop-sack": "the kernel would send what has arrived only once",
}
"""Options that are not supported, and what would be lost without each."""
_POSITION = re.compile(r"(-?\d+)(?::(\d+):(\d+))?(?:\+([shn])([em]?))?")
_DEFAULT_TTL = 8
"""The TTL of fakes (byedpi, README.md)."""


@dataclass
class _Group:
    """The options of one tactic, which `--auto` ends."""

    places: list[tuple[str, Marker]] = field(default_factory=list)
    """How each piece is sent, and where it ends."""
    ttl: int = 0
    md5: bool = False
    own_ttl: int = 0
    fake: Fake | None = None
    udp_fakes: int = 0
    protocols: str = ""
    ports: Sequence[range] = (ANY_PORT,)
    hosts: frozenset[str] | None = None
    addresses: Filter = field(default_factory=Filter)
    start: Limit = field(default_factory=Limit)
    cutoff: Limit = field(default_factory=lambda: Limit("d", 2))


def read_byedpi(arguments: Sequence[str], read: values.ReadFile) -> Strategy:
    """Return the strategy of a command line; `read` returns the content of files that are here.

    Raises:
        StrategyError: The message names the option, and what would be lost.
    """
    lists = Lists(read)
    groups = [_Group()]
    for name, value in options(arguments, list(set(_SHORT.values()) - _FLAGS), _SHORT):
        if not name:
            raise StrategyError(f"{value!r} is no option; options of byedpi begin with -")
        if name in _LOST:
            raise StrategyError(f"--{name} is not supported: without it, {_LOST[name]}")
        if name == "auto":
            groups.append(_next_group(value))
        elif name not in _WITHOUT_EFFECT:
            _take(groups[-1], lists, name, value)
    tactics = [tactic for group in groups for tactic in _tactics(group)]
    if tactics:
        lists.note("byedpi is a proxy that apps must use; here it is for all of a node's packets")
    return Strategy(tactics, notes=tuple(lists.notes), files=tuple(lists.files))


def _next_group(value: str | None) -> _Group:
    """Return the group after `--auto`.

    Raises:
        StrategyError: It depends on how a connection went.
    """
    if value not in ("n", "none"):
        raise StrategyError(
            f"--auto={value or ''} is not supported: without it, what follows would not be tried "
            "after a connection that failed"
        )
    return _Group()


def _take(group: _Group, lists: Lists, name: str, value: str | None) -> None:
    match name:
        case "split" | "disorder" | "fake":
            group.places += [(name, marker) for marker in _places(name, value)]
        case "ttl":
            group.ttl = values.number(name, value)
        case "def-ttl":
            group.own_ttl = values.number(name, value)
        case "md5sig":
            group.md5 = True
        case "fake-sni":
            group.fake = Fake("tls", name=_sni(value))
        case "udp-fake":
            group.udp_fakes = values.number(name, value)
        case _:
            _take_filter(group, lists, name, value)


def _take_filter(group: _Group, lists: Lists, name: str, value: str | None) -> None:
    text = value or ""
    match name:
        case "fake-data":
            if text.startswith(":"):
                content = text[1:].encode().decode("unicode_escape").encode("latin-1", "replace")
                group.fake = Fake(content=content or b"\0")
            else:
                group.fake = lists.fake(name, value)
        case "proto":
            group.protocols = text
        case "pf":
            group.ports = values.ports(name, value)
        case "round":
            first, _, last = text.partition("-")
            group.start = Limit("d", values.number(name, first))
            group.cutoff = Limit("d", values.number(name, last or first) + 1)
        case "hosts":
            kind, entries = _inline(name, "hosts-domains", text)
            group.hosts = frozenset(lists.hosts(kind, entries, includes=True))
        case "ipset":
            kind, entries = _inline(name, "ipset-ip", text)
            found, are_messengers = lists.networks(kind, entries, includes=True)
            group.addresses = Filter(networks=found, messengers=are_messengers)
        case _:
            raise StrategyError(
                f"byedpi has no option --{name}{did_you_mean(name, list(_SHORT.values()))}"
            )


def _inline(name: str, inline_name: str, text: str) -> tuple[str, str]:
    """Return the name and value by which `Lists` reads a list: of a file, or given after `:`."""
    if not text.startswith(":"):
        return name, text
    return inline_name, text[1:].replace(" ", ",")


def _sni(value: str | None) -> str:
    """Return a name in which `?`, `#` and `*` stand for letters and digits, as one of its kind."""
    return (value or "").replace("?", "a").replace("#", "1").replace("*", "b")


def _places(name: str, value: str | None) -> list[Marker]:
    """Return positions from `1`, `-5`, `0+sm` or, for three of them, `1:3:5`.

    Raises:
        StrategyError: It is none.
    """
    found = _POSITION.fullmatch(value or "")
    if found is None or (found[4] == "n" and found[5]):
        raise StrategyError(f"--{name}={value or ''}: expected is OFFSET[:REPEATS:SKIP][+s|h[e|m]]")
    offset, repeats, skip = int(found[1]), int(found[2] or 1), int(found[3] or 0)
    places = {"": "host", "e": "endhost", "m": "midhost"}
    place = places[found[5]] if found[4] in ("s", "h") else ""
    return [Marker(place, offset + number * skip) for number in range(min(repeats, 64))]


def _tactics(group: _Group) -> list[Tactic]:
    letters = {part[:1] for part in group.protocols.split(",") if part}
    named: dict[str, Layer7] = {"t": "tls", "h": "http"}
    layers = frozenset(layer for letter, layer in named.items() if letter in letters)
    chosen = replace(group.addresses, tcp=group.ports, udp=(), layer7=layers, hosts=group.hosts)
    own = Original(Disguise(ttl=group.own_ttl)) if group.own_ttl else None
    disguise = Disguise(ttl=group.ttl or _DEFAULT_TTL, md5=group.md5)
    if group.md5 and not group.ttl:
        disguise = Disguise(md5=True)
    fakes: Mapping[Layer7, Sequence[Fake]] = {}
    if group.fake is not None:
        fakes = {"tls": (group.fake,), "http": (group.fake,), "unknown": (group.fake,)}
    common = Tactic(
        fakes=fakes,
        disguise=disguise,
        any_protocol=True,
        start=group.start,
        cutoff=group.cutoff,
        original=own,
    )
    found = []
    if (group.places or own is not None) and letters - {"i"} != {"u"}:
        found.append(replace(common, filter=chosen, then=_pieces(group)))
    if group.udp_fakes and (not letters - {"i"} or "u" in letters) and group.hosts is None:
        udp = replace(group.addresses, tcp=(), udp=group.ports)
        found.append(replace(common, filter=udp, sends_fakes=True, repeats=group.udp_fakes))
    return found


def _pieces(group: _Group) -> Pieces | None:
    if not group.places:
        return None
    late = frozenset(n for n, (how, _) in enumerate(group.places) if how != "split")
    stood_in = frozenset(n for n, (how, _) in enumerate(group.places) if how == "fake")
    return Pieces(tuple(marker for _, marker in group.places), late=late, stood_in=stood_in)
