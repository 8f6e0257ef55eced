"""Collect the options of one tactic of nfqws, and make the tactic of them.

nfqws calls a tactic a profile; `--new` begins another one. An option may come at any place among
those of its tactic, so the tactic is made when all are known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network

from testbed.transport.desync import values
from testbed.transport.desync.strategy import (
    ANY_PORT,
    AutoTtl,
    Disguise,
    Duplicates,
    Fake,
    Filter,
    Fragments,
    Layer7,
    Limit,
    Marker,
    Numbering,
    Original,
    Padding,
    Pieces,
    StrategyError,
    Tactic,
)
from testbed.transport.internet import ACK, RST

FAKES = {"fake", "fakeknown"}
RESETS = {"rst": RST, "rstack": RST | ACK}
PIECES = {
    "multisplit": Pieces(()),
    "multidisorder": Pieces((), is_reversed=True),
    "fakedsplit": Pieces((), faked="pieces"),
    "fakeddisorder": Pieces((), is_reversed=True, faked="pieces"),
    "hostfakesplit": Pieces((), faked="host"),
}
OLD_NAMES = {
    "split": "fakedsplit",
    "disorder": "fakeddisorder",
    "split2": "multisplit",
    "disorder2": "multidisorder",
}
"""Older names of modes, which zapret still takes (nfq/desync.c, desync_mode_from_string)."""
FOOLINGS = {"none", "md5sig", "ts", "badseq", "badsum", "datanoack", "hopbyhop", "hopbyhop2"}
"""The last two are for IPv6 alone."""
DISGUISES = (
    *("ttl", "autottl", "fooling", "tcp-flags-set", "tcp-flags-unset"),
    *("ts-increment", "badseq-increment", "badack-increment"),
)
"""What the names of options about disguises end with."""
IPV6_ALONE = {"hopbyhop", "destopt", "ipfrag1"}
_LOST = {
    "synack": "the SYN,ACK before the SYN would be missing",
    "syndata": "the SYN would carry no payload",
}
"""Modes that are not supported, and what would be lost without each."""
_DEFAULT_SPLIT = (Marker("", 2),)
"""Where nfqws cuts if it is not told (zapret, nfq/nfqws.c)."""


@dataclass
class DisguiseDraft:
    """The options about how some packets differ from the one they are made from."""

    auto_default: AutoTtl = field(default_factory=AutoTtl)
    ttl: int = 0
    auto_ttl: AutoTtl | None = None
    foolings: set[str] = field(default_factory=set)
    sequence_by: int = -10000
    acknowledgement_by: int = -66000
    timestamp_by: int = -600000
    """By how much the three foolings with numbers change them, if they are asked for."""
    set_flags: int = 0
    unset_flags: int = 0

    def take(self, key: str, name: str, value: str | None) -> None:
        """Take the option whose name ends with `key`.

        Raises:
            StrategyError: Its value is malformed or unknown.
        """
        match key:
            case "ttl":
                self.ttl = values.number(name, value)
                if not 0 <= self.ttl <= 255:
                    raise StrategyError(f"--{name}={value}: a TTL is from 1 to 255, or 0")
            case "autottl":
                self.auto_ttl = values.auto_ttl(name, value, self.auto_default)
            case "fooling":
                self.foolings = set((value or "").split(","))
                if unknown := self.foolings - FOOLINGS:
                    raise StrategyError(f"--{name}: there is no fooling {min(unknown)!r}")
            case "tcp-flags-set":
                self.set_flags = values.tcp_flags(name, value)
            case "tcp-flags-unset":
                self.unset_flags = values.tcp_flags(name, value)
            case _:
                self._take_increment(key, values.number(name, value))

    def _take_increment(self, key: str, by: int) -> None:
        match key:
            case "badseq-increment":
                self.sequence_by = by
            case "badack-increment":
                self.acknowledgement_by = by
            case "ts-increment":
                self.timestamp_by = by

    def made(self) -> Disguise:
        """Return what was asked for."""
        fooled = self.foolings
        return Disguise(
            self.ttl,
            self.auto_ttl,
            bad_checksum="badsum" in fooled,
            sequence_by=self.sequence_by if "badseq" in fooled else 0,
            acknowledgement_by=self.acknowledgement_by if "badseq" in fooled else 0,
            timestamp_by=self.timestamp_by if "ts" in fooled else 0,
            md5="md5sig" in fooled,
            set_flags=self.set_flags,
            unset_flags=self.unset_flags | (ACK if "datanoack" in fooled else 0),
        )


def _disguises() -> Mapping[str, DisguiseDraft]:
    return {
        "dpi-desync": DisguiseDraft(),
        "dup": DisguiseDraft(AutoTtl(-1, 3, 64)),
        "orig": DisguiseDraft(AutoTtl(5, 3, 64)),
    }


@dataclass
class Draft:
    """The options of one tactic so far."""

    udp: Sequence[range] | None = None
    tcp: Sequence[range] | None = None
    layer7: set[Layer7] = field(default_factory=set)
    hosts: set[str] | None = None
    not_hosts: set[str] = field(default_factory=set)
    networks: list[IPv4Network] | None = None
    messengers: bool = False
    not_networks: list[IPv4Network] = field(default_factory=list)
    is_skipped: bool = False

    modes: list[str] = field(default_factory=list)
    fakes: dict[Layer7, list[Fake]] = field(default_factory=dict)
    tls_mod: str = ""
    """The modification of ClientHellos that was last asked for."""
    disguises: Mapping[str, DisguiseDraft] = field(default_factory=_disguises)
    """Of fakes, of duplicates and of the packet itself, by what the options' names begin with."""
    repeats: int = 1
    any_protocol: bool = False
    start: Limit = field(default_factory=Limit)
    cutoff: Limit = field(default_factory=Limit)
    split_at: Sequence[Marker] = _DEFAULT_SPLIT
    overlap: Marker | None = None
    overlap_pattern: bytes = b"\0"
    fake_pattern: bytes = b"\0"
    fake_host: str = ""
    numbers: Numbering = "seq"
    fragments: Fragments = field(default_factory=Fragments)
    padding: Padding = field(default_factory=Padding)
    duplicates: Duplicates = field(default_factory=lambda: Duplicates(0))
    original: Original = field(default_factory=lambda: Original(Disguise()))

    def tactic(self) -> Tactic:
        """Return the tactic.

        Raises:
            StrategyError: A mode is unknown or not supported.
        """
        modes = [OLD_NAMES.get(mode, mode) for mode in self.modes]
        for mode in modes:
            self._check(mode)
        fakes: dict[Layer7, Sequence[Fake]] = dict(self.fakes)
        if "fakeknown" in modes:
            fakes["unknown"] = ()
        copies = replace(self.duplicates, disguise=self.disguises["dup"].made())
        original = replace(self.original, disguise=self.disguises["orig"].made())
        return Tactic(
            self._filter(),
            fakes=fakes,
            sends_fakes=bool(FAKES & set(modes)),
            resets=next((RESETS[mode] for mode in modes if mode in RESETS), 0),
            then=self._then(modes),
            disguise=self.disguises["dpi-desync"].made(),
            repeats=self.repeats,
            any_protocol=self.any_protocol,
            start=self.start,
            cutoff=self.cutoff,
            numbers=self.numbers,
            duplicates=copies if copies.count else None,
            original=original if original.disguise != Disguise() else None,
        )

    def _check(self, mode: str) -> None:
        known = {*FAKES, *RESETS, *PIECES, *IPV6_ALONE, "ipfrag2", "udplen", "tamper", "none"}
        if mode in _LOST:
            raise StrategyError(f"--dpi-desync={mode} is not supported: without it, {_LOST[mode]}")
        if mode not in known:
            raise StrategyError(f"--dpi-desync: there is no mode {mode!r}; is it newer than v72?")

    def _filter(self) -> Filter:
        # Ports of one protocol exclude the other one, unless it has ports as well.
        given = self.udp is not None or self.tcp is not None
        other: Sequence[range] = () if given else (ANY_PORT,)
        return Filter(
            other if self.udp is None else self.udp,
            other if self.tcp is None else self.tcp,
            frozenset(self.layer7),
            None if self.hosts is None else frozenset(self.hosts),
            frozenset(self.not_hosts),
            self.networks,
            self.messengers,
            self.not_networks,
        )

    def _then(self, modes: Sequence[str]) -> Pieces | Fragments | Padding | None:
        found = next((mode for mode in modes if mode in PIECES), "")
        if found:
            pieces = PIECES[found]
            return replace(
                pieces,
                at=self.split_at,
                overlap=None if pieces.faked else self.overlap,
                pattern=self.fake_pattern if pieces.faked else self.overlap_pattern,
                fake_host=self.fake_host,
            )
        if "ipfrag2" in modes:
            return self.fragments
        return self.padding if "udplen" in modes else None
