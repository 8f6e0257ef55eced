"""Read a command line of nfqws or winws (zapret) as a strategy.

What an option means is read from zapret's documentation (`testbed.transport.desync`). Some options
have no effect here: those of the program itself (its queue, user, log), those of IPv6, and those
that a note names. An option that would change packets in a way that is not supported is an
error that says what would be lost.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from testbed.errors import did_you_mean
from testbed.transport.desync import values
from testbed.transport.desync.command_line import options
from testbed.transport.desync.drafts import DISGUISES, IPV6_ALONE, OLD_NAMES, PIECES, Draft
from testbed.transport.desync.named_files import Lists
from testbed.transport.desync.strategy import (
    Fake,
    Layer7,
    Numbering,
    Strategy,
    StrategyError,
)

_LAYERS: Sequence[Layer7] = (
    "http", "tls", "quic", "stun", "wireguard", "dht", "discord", "unknown",
)  # fmt: skip
_WITHOUT_EFFECT = re.compile(
    r"debug|dry-run|version|comment|qnum|daemon|pidfile|user|uid|bind-fix[46]|ctrack-.*|ipcache-.*"
    r"|dpi-desync-fwmark|dpi-desync-skip-nosni|hostlist-auto-.*|wf-iface|wf-l3|wf-save|wf-dup-check"
    r"|ssid-filter|nlm-filter|nlm-list|.*ttl6|dup-ip-id|reasm-disable"
)
"""Options that change no packet of the lab."""
_LOST: Mapping[str, str] = {
    r"wsize|wssize(-.*)?": "servers would send their answers in whole segments",
    r"synack-split": "the handshake would not be split",
    r"hostcase|hostspell|hostnospace|domcase|methodeol": "HTTP headers would keep their form",
    r"dpi-desync-fake-syndata": "the SYN would carry no payload",
    r"dpi-desync-fakedsplit-mod": "fakes would leave in the usual order",
    r"dpi-desync-hostfakesplit-midhost": "the host's name would stay whole",
    r"dpi-desync-fake-tcp-mod": "fakes would not follow one another in the stream",
    r"wf-raw.*": "other packets would be seen",
    r"filter-ssid": "it would hold in every wireless network",
    r"lua-.*|payload|in-range|out-range|blob|writeable|filter-mark": "what the Lua function does "
    'would be missing; run your own nfqws2 with kind = "nfqueue"',
}
"""Options that are not supported, and what would be lost without each."""
_SAME = {"none", "altorder=0", "seq"}
"""Values of such options that ask for what is done anyway."""


def read_nfqws(arguments: Sequence[str], read: values.ReadFile) -> Strategy:
    """Return the strategy of a command line; `read` returns the content of files that are here.

    Raises:
        StrategyError: The message names the option, and what would be lost.
    """
    return _Reader(read).read(arguments)


class _Reader:
    def __init__(self, read: values.ReadFile) -> None:
        self._lists = Lists(read)
        self._read = self._lists.read
        self._drafts = [Draft()]
        self._whole = Strategy()

    def read(self, arguments: Sequence[str]) -> Strategy:
        for name, value in options(arguments, [*_READERS.keys() - _ALONE], {}):
            self._take(name, value)
        drafts = [draft for draft in self._drafts if not draft.is_skipped]
        tactics = [draft.tactic() for draft in drafts if draft != Draft()]
        for draft in drafts:
            self._note_modes(draft)
        return replace(
            self._whole,
            tactics=tuple(tactics),
            notes=tuple(self._lists.notes),
            files=tuple(self._lists.files),
        )

    def _take(self, name: str, value: str | None) -> None:
        if not name:
            raise StrategyError(f"{value!r} is no option; options of nfqws begin with --")
        if name in _READERS:
            _READERS[name](self, self._drafts[-1], name, value)
            return
        if _WITHOUT_EFFECT.fullmatch(name):
            return
        for pattern, lost in _LOST.items():
            if re.fullmatch(pattern, name):
                if value in _SAME:
                    return
                shown = f"--{name}" if value is None else f"--{name}={value}"
                raise StrategyError(f"{shown} is not supported: without it, {lost}")
        raise StrategyError(f"nfqws has no option --{name}{did_you_mean(name, list(_READERS))}")

    def _note_modes(self, draft: Draft) -> None:
        if ipv6 := IPV6_ALONE & set(draft.modes):
            self._lists.note(f"{min(ipv6)} is for IPv6, which the lab's calls do not use")
        for mode in draft.modes:
            if OLD_NAMES.get(mode, mode) in PIECES and draft.udp and draft.tcp is None:
                self._lists.note(f"{mode} cuts TCP, so it changes nothing in a part for UDP")
        if "tamper" in draft.modes:
            self._lists.note("tamper changes DHT alone, of which there is none in the lab")

    def begin(self, draft: Draft, name: str, value: str | None) -> None:
        self._drafts.append(Draft())

    def captured(self, draft: Draft, name: str, value: str | None) -> None:
        protocol = name.removeprefix("wf-")[:3]
        seen = values.ports(name, value)
        self._whole = (
            replace(self._whole, udp=seen) if protocol == "udp" else replace(self._whole, tcp=seen)
        )

    def layers(self, draft: Draft, name: str, value: str | None) -> None:
        for part in (value or "").split(","):
            found = next((layer for layer in _LAYERS if layer == part), None)
            if found is None:
                raise StrategyError(
                    f"--{name}: {part!r} is none of {', '.join(_LAYERS)}: without it, the tactic "
                    "would be for other packets"
                )
            draft.layer7.add(found)

    def hosts(self, draft: Draft, name: str, value: str | None) -> None:
        if name.startswith("hostlist-exclude"):
            draft.not_hosts |= self._lists.hosts(name, value, includes=False)
        else:
            draft.hosts = (draft.hosts or set()) | self._lists.hosts(name, value, includes=True)

    def addresses(self, draft: Draft, name: str, value: str | None) -> None:
        if name.startswith("ipset-exclude"):
            found, _ = self._lists.networks(name, value, includes=False)
            draft.not_networks += found
            return
        found, are_messengers = self._lists.networks(name, value, includes=True)
        draft.networks = [*(draft.networks or []), *found]
        draft.messengers |= are_messengers

    def modes(self, draft: Draft, name: str, value: str | None) -> None:
        draft.modes = (value or "").split(",")

    def fake(self, draft: Draft, name: str, value: str | None) -> None:
        kind = name.removeprefix("dpi-desync-fake-")
        layer = _layer_of(kind)
        if value is not None and re.fullmatch(r"!(\+\d+)?", value):
            made = Fake("tls", name="www.google.com", random_name=True, same_session=True)
        else:
            made = self._lists.fake(name, value)
        if layer == "tls" and draft.tls_mod:
            made = _modified(made, draft.tls_mod)
        draft.fakes.setdefault(layer, []).append(made)

    def tls_mod(self, draft: Draft, name: str, value: str | None) -> None:
        draft.tls_mod = value or ""
        fakes = draft.fakes.setdefault("tls", [])
        last = fakes.pop() if fakes else Fake("tls", name="www.google.com")
        fakes.append(_modified(last, draft.tls_mod))

    def limits(self, draft: Draft, name: str, value: str | None) -> None:
        limit = values.limit(name, value)
        is_start = name.endswith("-start")
        if name.startswith("dup"):
            copies = draft.duplicates
            draft.duplicates = (
                replace(copies, start=limit) if is_start else replace(copies, cutoff=limit)
            )
        elif name.startswith("orig"):
            own = draft.original
            draft.original = replace(own, start=limit) if is_start else replace(own, cutoff=limit)
        elif is_start:
            draft.start = limit
        else:
            draft.cutoff = limit

    def pattern(self, draft: Draft, name: str, value: str | None) -> None:
        content = self._lists.content(name, value)
        if name.startswith("dpi-desync-split"):
            draft.overlap_pattern = content
        elif name.startswith("dpi-desync-fakedsplit"):
            draft.fake_pattern = content
        else:
            draft.padding = replace(draft.padding, pattern=content)


_Take = Callable[[_Reader, Draft, str, str | None], None]


def _layer_of(kind: str) -> Layer7:
    if kind == "unknown-udp":
        return "unknown"
    return next(layer for layer in _LAYERS if layer == kind)


def _modified(fake: Fake, mods: str) -> Fake:
    """Return a ClientHello with nfqws's modifications; those made here are random in any case.

    Raises:
        StrategyError: A modification is unknown or not supported.
    """
    for mod in mods.split(","):
        key, _, value = mod.partition("=")
        match key:
            case "none" | "rnd":
                continue
            case "rndsni":
                fake = replace(_as_hello(fake), random_name=True)
            case "dupsid":
                fake = replace(_as_hello(fake), same_session=True)
            case "sni" if value:
                fake = replace(_as_hello(fake), name=value, random_name=False)
            case "padencap":
                raise StrategyError(
                    "--dpi-desync-fake-tls-mod=padencap is not supported: without it, a fake's "
                    "padding would not cover the real ClientHello"
                )
            case _:
                raise StrategyError(f"--dpi-desync-fake-tls-mod: there is no {mod!r}")
    return fake


def _as_hello(fake: Fake) -> Fake:
    return fake if fake.kind == "tls" else Fake("tls", name="www.google.com")


def _ports(reader: _Reader, draft: Draft, name: str, value: str | None) -> None:
    if name.endswith("udp"):
        draft.udp = values.ports(name, value)
    else:
        draft.tcp = values.ports(name, value)


def _skip(reader: _Reader, draft: Draft, name: str, value: str | None) -> None:
    draft.is_skipped = True


def _any_protocol(reader: _Reader, draft: Draft, name: str, value: str | None) -> None:
    draft.any_protocol = value != "0"


def _repeats(reader: _Reader, draft: Draft, name: str, value: str | None) -> None:
    draft.repeats = values.number(name, value)
    if not 1 <= draft.repeats <= 1024:
        raise StrategyError(f"--{name}={value}: from 1 to 1024")


def _positions(reader: _Reader, draft: Draft, name: str, value: str | None) -> None:
    found = values.markers(name, value)
    if name.endswith("seqovl"):
        draft.overlap = found[0]
    else:
        draft.split_at = found


def _fragment(reader: _Reader, draft: Draft, name: str, value: str | None) -> None:
    at = values.number(name, value)
    if not 8 <= at <= 9216 or at % 8:
        raise StrategyError(f"--{name}={value}: a multiple of 8 from 8 to 9216")
    if name.endswith("udp"):
        draft.fragments = replace(draft.fragments, udp_at=at)
    else:
        draft.fragments = replace(draft.fragments, tcp_at=at)


def _padding(reader: _Reader, draft: Draft, name: str, value: str | None) -> None:
    draft.padding = replace(draft.padding, by_bytes=values.number(name, value))


def _copies(reader: _Reader, draft: Draft, name: str, value: str | None) -> None:
    if name == "dup":
        draft.duplicates = replace(draft.duplicates, count=values.number(name, value))
    else:
        draft.duplicates = replace(draft.duplicates, replaces=value != "0")


def _numbering(reader: _Reader, draft: Draft, name: str, value: str | None) -> None:
    ways: Mapping[str | None, Numbering] = {"seq": "seq", "zero": "zero", "rnd": "rnd"}
    if value == "seqgroup":
        raise StrategyError(
            f"--{name}={value} is not supported: without it, fakes in the place of pieces would "
            "have numbers of their own"
        )
    if value not in ways:
        raise StrategyError(
            f"--{name}={value or ''}: expected is one of {', '.join(map(str, ways))}"
        )
    draft.numbers = ways[value]


def _fake_host(reader: _Reader, draft: Draft, name: str, value: str | None) -> None:
    for mod in (value or "").split(","):
        key, _, host = mod.partition("=")
        if key == "host" and host:
            draft.fake_host = host
        elif mod not in _SAME:
            raise StrategyError(
                f"--{name}={value or ''} is not supported: without it, fakes would leave in the "
                "usual order"
            )


def _disguise(owner: str, key: str) -> _Take:
    def take(reader: _Reader, draft: Draft, name: str, value: str | None) -> None:
        draft.disguises[owner].take(key, name, value)

    return take


_READERS: Mapping[str, _Take] = {
    "new": _Reader.begin,
    "skip": _skip,
    **dict.fromkeys(("wf-tcp", "wf-udp", "wf-tcp-out", "wf-udp-out"), _Reader.captured),
    **dict.fromkeys(("filter-tcp", "filter-udp"), _ports),
    "filter-l7": _Reader.layers,
    **dict.fromkeys(
        ("hostlist", "hostlist-domains", "hostlist-exclude", "hostlist-exclude-domains"),
        _Reader.hosts,
    ),
    "hostlist-auto": _Reader.hosts,
    **dict.fromkeys(("ipset", "ipset-ip", "ipset-exclude", "ipset-exclude-ip"), _Reader.addresses),
    "dpi-desync": _Reader.modes,
    "dpi-desync-repeats": _repeats,
    "dpi-desync-any-protocol": _any_protocol,
    "dpi-desync-fake-tls-mod": _Reader.tls_mod,
    **{f"dpi-desync-fake-{layer}": _Reader.fake for layer in (*_LAYERS, "unknown-udp")},
    **{
        f"{owner}-{key}": _disguise(owner, key)
        for owner in ("dpi-desync", "dup", "orig")
        for key in DISGUISES
    },
    **{
        f"{owner}-{end}": _Reader.limits
        for owner in ("dpi-desync", "dup", "orig-mod")
        for end in ("start", "cutoff")
    },
    **dict.fromkeys(("dpi-desync-split-pos", "dpi-desync-split-seqovl"), _positions),
    **dict.fromkeys(
        (
            "dpi-desync-split-seqovl-pattern",
            "dpi-desync-fakedsplit-pattern",
            "dpi-desync-udplen-pattern",
        ),
        _Reader.pattern,
    ),
    **dict.fromkeys(("dpi-desync-ipfrag-pos-udp", "dpi-desync-ipfrag-pos-tcp"), _fragment),
    "dpi-desync-udplen-increment": _padding,
    "dpi-desync-hostfakesplit-mod": _fake_host,
    "ip-id": _numbering,
    **dict.fromkeys(("dup", "dup-replace"), _copies),
}
"""By option: what takes it."""
_ALONE = {
    *("new", "skip", "dpi-desync-any-protocol", "dup-replace"),
    *("dpi-desync-autottl", "dup-autottl", "orig-autottl"),
}
"""Options whose value, if there is one, is joined to them by `=`."""
