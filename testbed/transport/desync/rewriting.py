"""Apply a strategy to the packets of a node.

For each packet that a node sends:

1. Its flow counts it, and learns what its payload is and which server it names.
2. The first tactic whose filter matches is chosen; if none does, the packet leaves as it is.
3. Within the tactic's limits, fakes leave first; then the packet itself, or what it is turned into.

A packet that is made gets the identification after that of the one before it, starting from the
original's, unless the tactic numbers otherwise. State is bounded: flows, and the distance of
servers, which is kept for all later flows and calls, as nfqws keeps it in its cache.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from random import Random

from testbed.transport.desync.disguises import disguised
from testbed.transport.desync.fakes import DEFAULTS, UNKNOWN_TCP, payload_of
from testbed.transport.desync.pieces import pieces_of
from testbed.transport.desync.recognised import Recognised, recognise
from testbed.transport.desync.strategy import (
    Fake,
    Filter,
    Fragments,
    Limit,
    Numbering,
    Padding,
    Pieces,
    Strategy,
    Tactic,
)
from testbed.transport.internet import SYN, WRAP, Segment, encode, fragments, parse

_MAX_FLOWS = 65536
_MAX_SERVERS = 65536
_INITIAL_TTLS = (64, 128, 255)
"""The TTLs with which systems send, by which a packet that arrives tells how far it came."""


@dataclass(slots=True)
class _Flow:
    """What is known of one flow."""

    packets: int = 0
    data_packets: int = 0
    begun_at: int = 0
    """The sequence number of its first byte, less one."""
    bytes_before: int = 0
    """What it sent before the last packet; only for UDP."""
    last_bytes: int = 0
    recognised: Recognised = field(default_factory=Recognised)
    """What its first recognised payload was."""

    def within(self, start: Limit, cutoff: Limit, segment: Segment) -> bool:
        """Return whether a packet is neither before a start nor at a cut-off."""
        return (not start.number or self._count(start, segment) >= start.number) and (
            not cutoff.number or self._count(cutoff, segment) < cutoff.number
        )

    def _count(self, limit: Limit, segment: Segment) -> int:
        if limit.counts == "n":
            return self.packets
        if limit.counts == "d":
            return self.data_packets
        if segment.tcp is None:
            return self.bytes_before + 1
        return (segment.tcp.sequence - self.begun_at) % WRAP


class Desync:
    """Rewrites packets by a strategy (`testbed.transport.client_side.PacketRewriter`).

    `messengers` are the addresses that stand for a list of addresses that is not here.
    """

    def __init__(self, strategy: Strategy, rng: Random, messengers: Collection[str] = ()) -> None:
        self._strategy = strategy
        self._rng = rng
        self._messengers = [IPv4Address(address) for address in messengers]
        self._flows: OrderedDict[tuple[bytes, bytes, int, int, bool], _Flow] = OrderedDict()
        self._hops: OrderedDict[bytes, int] = OrderedDict()
        """How many routers there are to each server that has answered."""

    def received(self, packet: bytes, now: float) -> None:
        """Learn from a packet how far its sender is."""
        segment = parse(packet)
        if segment is None or segment.source in self._hops:
            return
        initial = next(ttl for ttl in _INITIAL_TTLS if segment.ttl <= ttl)
        self._hops[segment.source] = initial - segment.ttl
        if len(self._hops) > _MAX_SERVERS:
            self._hops.popitem(last=False)

    def sent(self, packet: bytes, now: float) -> Sequence[bytes]:
        """Return what leaves instead of a packet."""
        segment = parse(packet)
        if segment is None or not self._sees(segment):
            return [packet]
        is_tcp = segment.tcp is not None
        flow = self._flow(segment)
        found = recognise(segment.payload, is_tcp=is_tcp)
        if flow.recognised.layer7 == "unknown":
            flow.recognised = found
        tactic = next((t for t in self._strategy.tactics if self._is_for(t, flow, segment)), None)
        if tactic is None:
            return [packet]
        made = list(self._rewritten(tactic, flow, segment, found))
        return [packet if each == packet else each for each in made]

    def _sees(self, segment: Segment) -> bool:
        ports = self._strategy.udp if segment.tcp is None else self._strategy.tcp
        return any(segment.destination_port in each for each in ports)

    def _flow(self, segment: Segment) -> _Flow:
        """Return a packet's flow, which has counted it."""
        ends = (segment.source, segment.destination)
        ports = (segment.source_port, segment.destination_port)
        key = (*ends, *ports, segment.tcp is None)
        opens = segment.tcp is not None and segment.tcp.flags & SYN
        if opens or key not in self._flows:
            begun_at = 0
            if segment.tcp is not None:
                begun_at = segment.tcp.sequence if opens else segment.tcp.sequence - 1
            self._flows[key] = _Flow(begun_at=begun_at)
            if len(self._flows) > _MAX_FLOWS:
                self._flows.popitem(last=False)
        flow = self._flows[key]
        flow.packets += 1
        flow.data_packets += bool(segment.payload)
        flow.bytes_before += flow.last_bytes
        flow.last_bytes = len(segment.payload)
        return flow

    def _is_for(self, tactic: Tactic, flow: _Flow, segment: Segment) -> bool:
        chosen, known = tactic.filter, flow.recognised
        ports = chosen.udp if segment.tcp is None else chosen.tcp
        return (
            any(segment.destination_port in each for each in ports)
            and (not chosen.layer7 or known.layer7 in chosen.layer7)
            and self._is_for_address(chosen, IPv4Address(segment.destination))
            and _is_for_host(chosen, "" if known.named is None else known.named.name)
        )

    def _is_for_address(self, chosen: Filter, address: IPv4Address) -> bool:
        if any(address in network for network in chosen.not_networks):
            return False
        if chosen.networks is None and not chosen.messengers:
            return True
        listed = any(address in network for network in chosen.networks or ())
        return listed or (chosen.messengers and address in self._messengers)

    def _rewritten(
        self, tactic: Tactic, flow: _Flow, segment: Segment, found: Recognised
    ) -> Iterator[bytes]:
        numbers = _Numbers(segment.identification, tactic.numbers, self._rng)
        hops = self._hops.get(segment.destination)
        own = tactic.original
        if own is not None and flow.within(own.start, own.cutoff, segment):
            segment = disguised(segment, own.disguise, hops, self._rng)
        counts = found.layer7 != "unknown" or tactic.any_protocol
        if segment.payload and counts and flow.within(tactic.start, tactic.cutoff, segment):
            yield from self._fakes(tactic, segment, found, hops, numbers)
            changed = self._changed(tactic, segment, found, hops, numbers)
            if changed:
                yield from changed
                return
        copies = tactic.duplicates
        if copies is not None and flow.within(copies.start, copies.cutoff, segment):
            copy = disguised(segment, copies.disguise, hops, self._rng)
            for _ in range(copies.count):
                yield encode(numbers.next(copy), bad_checksum=copies.disguise.bad_checksum)
            if copies.replaces:
                return
        yield encode(segment)

    def _fakes(
        self,
        tactic: Tactic,
        segment: Segment,
        found: Recognised,
        hops: int | None,
        numbers: _Numbers,
    ) -> Iterator[bytes]:
        disguise = tactic.disguise
        bad = disguise.bad_checksum
        if tactic.sends_fakes:
            for fake in self._fakes_for(tactic, segment, found):
                made = replace(segment, payload=payload_of(fake, segment.payload, self._rng))
                made = disguised(made, disguise, hops, self._rng)
                for _ in range(tactic.repeats):
                    yield encode(numbers.next(made), bad_checksum=bad)
        if tactic.resets and segment.tcp is not None:
            reset = replace(segment, payload=b"", tcp=segment.tcp._replace(flags=tactic.resets))
            reset = disguised(reset, disguise, hops, self._rng)
            for _ in range(tactic.repeats):
                yield encode(numbers.next(reset), bad_checksum=bad)

    @staticmethod
    def _fakes_for(tactic: Tactic, segment: Segment, found: Recognised) -> Sequence[Fake]:
        own = DEFAULTS[found.layer7]
        if segment.tcp is not None and found.layer7 == "unknown":
            own = UNKNOWN_TCP
        return tactic.fakes.get(found.layer7, own)

    def _changed(
        self,
        tactic: Tactic,
        segment: Segment,
        found: Recognised,
        hops: int | None,
        numbers: _Numbers,
    ) -> list[bytes]:
        """Return a packet in another form; empty if it keeps its own."""
        then = tactic.then
        match then:
            case Pieces() if segment.tcp is not None:
                made = []
                fake = b""
                if then.stood_in:
                    [chosen, *_] = self._fakes_for(tactic, segment, found)
                    fake = payload_of(chosen, segment.payload, self._rng)
                for piece in pieces_of(then, segment, found, fake, self._rng):
                    one = numbers.next(piece.segment)
                    if piece.is_fake:
                        one = disguised(one, tactic.disguise, hops, self._rng)
                    bad = piece.is_fake and tactic.disguise.bad_checksum
                    made += [encode(one, bad_checksum=bad)] * (
                        tactic.repeats if piece.is_fake else 1
                    )
                return made
            case Padding() if segment.tcp is None:
                return [encode(_padded(segment, then))]
            case Fragments():
                number = segment.identification or self._rng.randrange(1, 0x10000)
                at = then.udp_at if segment.tcp is None else then.tcp_at
                return fragments(replace(segment, identification=number), at)
        return []


class _Numbers:
    """Numbers the packets that are made from one."""

    def __init__(self, last: int, how: Numbering, rng: Random) -> None:
        self._last = last
        self._how = how
        self._rng = rng

    def next(self, segment: Segment) -> Segment:
        """Return a packet with the next identification."""
        if self._how == "seq":
            self._last = (self._last + 1) % 0x10000
        else:
            self._last = self._rng.randrange(1, 0x10000) if self._how == "rnd" else 0
        return replace(segment, identification=self._last)


def _is_for_host(chosen: Filter, name: str) -> bool:
    if name and _is_in(name, chosen.not_hosts):
        return False
    return chosen.hosts is None or (bool(name) and _is_in(name, chosen.hosts))


def _is_in(name: str, domains: Collection[str]) -> bool:
    """Return whether a name is one of some domains or below one; `^` means that domain alone."""
    parents = (name[at + 1 :] for at, letter in enumerate(name) if letter == ".")
    return name in domains or f"^{name}" in domains or any(each in domains for each in parents)


def _padded(segment: Segment, padding: Padding) -> Segment:
    by, payload = padding.by_bytes, segment.payload
    if by < 0:
        return replace(segment, payload=payload[: max(len(payload) + by, 1)])
    pattern = padding.pattern
    return replace(segment, payload=payload + (pattern * (by // len(pattern) + 1))[:by])
