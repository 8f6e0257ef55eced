"""The censor itself: a function of packets, time and a seeded generator; no clock, no socket."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from random import Random
from typing import NamedTuple

from testbed.censor.actions import List, Pass, described
from testbed.censor.condition import resolve
from testbed.censor.detectors import DETECTORS, Kind
from testbed.censor.detectors.unknown import is_parsed_first
from testbed.censor.effects import Effect, effect, scope
from testbed.censor.facts import Detector
from testbed.censor.flow import Fate, Flow
from testbed.censor.lists import FlowLists
from testbed.censor.packet import Direction, Endpoint, Packet
from testbed.censor.profile import Profile, Rule
from testbed.censor.release import Release

MAX_FLOWS = 65536
"""How many flows are remembered; the one that began first is forgotten first."""
MAX_EVENTS = 100_000
"""How many events are kept; those after them are not."""


@dataclass(slots=True)
class RuleCounters:
    """What one rule did, by packets."""

    matched: int = 0
    dropped: int = 0
    late: int = 0
    """Released after they came."""
    made: int = 0
    """Sent by the box of its own: duplicates, and segments that end connections."""

    def count_unusual(self, packet: Packet, now: float, releases: Sequence[Release]) -> None:
        """Count a packet for which the box sent more than one, or one later or another."""
        itself = sum(release.data is packet.data for release in releases)
        self.dropped += not itself
        self.made += len(releases) - min(itself, 1)
        self.late += any(release.at > now for release in releases)


class Event(NamedTuple):
    """Something that the censor found or began to do, for people."""

    at: float
    flow: str
    what: str


class Censor:
    """One box during one run: built from a profile, the lab's address lists and a generator.

    `lists` gives IP networks by the names that profiles use. ValueError: a rule names another.
    """

    def __init__(
        self, profile: Profile, rng: Random, lists: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self.counters = {rule.name: RuleCounters() for rule in profile.rules}
        self.events: list[Event] = []
        self._rng = rng
        self._inspection = profile.inspection
        self._idle_s = inf if profile.inspection.idle_s is None else profile.inspection.idle_s
        self._conditions = [resolve(rule, lists or {}) for rule in profile.rules]
        self._kinds = _kinds(profile)
        self._flow_lists = FlowLists(
            (rule.action for rule in profile.rules if isinstance(rule.action, List)), rng
        )
        self._flows: OrderedDict[tuple[str, Endpoint, Endpoint], Flow] = OrderedDict()
        self._shared: dict[tuple[str, bytes, Direction | None], Effect] = {}
        self._began_at: float | None = None

    def on_packet(self, packet: Packet, now: float) -> Sequence[Release]:
        """Decide about a packet that came at `now` (s): () drops it; `now` never goes back."""
        if self._began_at is None:
            self._began_at = now
            self._flow_lists.begin(now)
        if now >= self._flow_lists.next_update:
            self._flow_lists.update(now)
        flow = self._flow_of(packet, now)
        if flow.looking and packet.payload:
            self._look(flow, packet, now)
        fate = flow.fates.get(packet.direction)
        if fate is None or now >= fate.until or flow.lists_version != self._flow_lists.version:
            fate = self._decide(flow, packet.direction, now)
        if fate.rule is None:
            return (Release(now, packet.data, packet.direction, fate.settled),)
        return self._do(fate, fate.rule, flow, packet, now)

    def _do(
        self, fate: Fate, rule: Rule, flow: Flow, packet: Packet, now: float
    ) -> Sequence[Release]:
        counters = self.counters[rule.name]
        counters.matched += 1
        if rule.match.listed is not None:
            flow_list = self._flow_lists[rule.match.listed]
            flow_list.restart(flow.key(flow_list.kept.by), now)
        if fate.effect is None:
            return (Release(now, packet.data, packet.direction, fate.settled),)
        releases = fate.effect.apply(packet, now)
        counters.dropped += not releases
        if releases and (
            len(releases) > 1 or releases[0].at > now or releases[0].data is not packet.data
        ):
            counters.count_unusual(packet, now, releases)
        return releases

    def _flow_of(self, packet: Packet, now: float) -> Flow:
        source, destination = packet.source, packet.destination
        ends = (source, destination) if source <= destination else (destination, source)
        key = (packet.protocol, *ends)
        flow = self._flows.get(key)
        if flow is not None and now - flow.seen_at <= self._idle_s:
            flow.seen_at = now
            return flow
        if flow is not None:
            del self._flows[key]
        elif len(self._flows) >= MAX_FLOWS:
            self._flows.popitem(last=False)
        flow = self._flows[key] = Flow(
            packet.protocol,
            client=source,
            server=destination,
            opened=packet.direction,
            looking=self._detectors(packet.protocol),
            seen_at=now,
        )
        return flow

    def _detectors(self, protocol: str) -> dict[Kind, tuple[Detector, float]]:
        inspection = self._inspection
        limit: int | None = inspection.packets
        if limit is not None and inspection.packets_spread:
            limit += self._rng.randint(0, inspection.packets_spread)
        return {
            kind: (
                kind.make(inspection.reassembles),
                inf if (packets := limit or kind.packets) is None else packets,
            )
            for kind in self._kinds.get(protocol, ())
        }

    def _look(self, flow: Flow, packet: Packet, now: float) -> None:
        flow.payload_packets += 1
        if self._ends_inspection(flow, packet.payload):
            flow.looking.clear()
            flow.fates.clear()
            return
        for kind, (detector, limit) in tuple(flow.looking.items()):
            facts = detector.feed(packet, now)
            if facts is None and flow.payload_packets < limit:
                continue
            del flow.looking[kind]
            flow.fates.clear()
            for fact in facts or ():
                flow.learn(fact)
                text = f"{fact.name} = {fact.value}" if fact.value else f"recognised as {fact.name}"
                self._log(now, flow, text)

    def _ends_inspection(self, flow: Flow, payload: bytes) -> bool:
        least_bytes = self._inspection.unparsed_bytes
        if least_bytes is None or flow.parsed:
            return False
        flow.parsed = is_parsed_first(payload)
        return not flow.parsed and len(payload) >= least_bytes

    def _decide(self, flow: Flow, direction: Direction, now: float) -> Fate:
        if flow.lists_version != self._flow_lists.version:
            flow.fates.clear()
            flow.lists_version = self._flow_lists.version
        rule, until = self._first_rule(flow, direction, now)
        settled = not flow.looking and all(self._only_passes(flow, way) for way in Direction)
        if rule is not None and flow.logged.get(direction) != rule.name:
            flow.logged[direction] = rule.name
            self._log(now, flow, f"{direction.value}: rule {rule.name}: {described(rule.action)}")
        working = None if rule is None else self._effect(rule, flow, direction)
        fate = flow.fates[direction] = Fate(rule, working, settled, until)
        return fate

    def _first_rule(
        self, flow: Flow, direction: Direction, now: float
    ) -> tuple[Rule | None, float]:
        """Give the first rule that holds, and until when it stays the first."""
        assert self._began_at is not None
        until = inf
        for condition in self._conditions:
            if not condition.may_hold(flow, direction):
                continue
            span = condition.holds_from_to(flow, self._flow_lists, self._began_at, now)
            until = min(until, span.until)
            if span.holds and self._is_taken(condition.rule, flow):
                return condition.rule, until
        return None, until

    def _is_taken(self, rule: Rule, flow: Flow) -> bool:
        if rule.match.share is None:
            return True
        if rule.name not in flow.taken:
            flow.taken[rule.name] = self._rng.random() < rule.match.share
        return flow.taken[rule.name]

    def _only_passes(self, flow: Flow, direction: Direction) -> bool:
        """Tell of a flow that no detector looks at whether it passes whatever may come."""
        for condition in self._conditions:
            if condition.may_hold(flow, direction):
                if not isinstance(condition.rule.action, Pass):
                    return False
                if not condition.changes_with_time:
                    return True
        return True

    def _effect(self, rule: Rule, flow: Flow, direction: Direction) -> Effect | None:
        """Give the effect of a rule on a direction of a flow, which may be one of more of them."""
        whose = scope(rule.action)
        if whose in ("rule", "client"):
            address, way = (flow.client.address, direction) if whose == "client" else (b"", None)
            shared_key = (rule.name, address, way)
            if shared_key not in self._shared and len(self._shared) >= MAX_FLOWS:
                del self._shared[next(iter(self._shared))]
            working = self._shared.get(shared_key) or effect(rule.action, self._rng, _never)
            if working is not None:
                self._shared[shared_key] = working
            return working
        key = (rule.name, direction if whose == "direction" else None)
        working = flow.effects.get(key)
        if working is None:
            working = effect(rule.action, self._rng, partial(self._enlist, rule, flow))
            if working is not None:
                flow.effects[key] = working
        return working

    def _enlist(self, rule: Rule, flow: Flow, now: float) -> None:
        assert isinstance(rule.action, List)
        self._flow_lists.add(rule.action.list, flow.key(rule.action.by), now)
        self._log(now, flow, f"listed as {rule.action.list} by {rule.action.by}")

    def _log(self, now: float, flow: Flow, what: str) -> None:
        if len(self.events) < MAX_EVENTS:
            self.events.append(Event(now, flow.name, what))


def _kinds(profile: Profile) -> Mapping[str, Sequence[Kind]]:
    """Give the detectors that a profile needs, by protocol."""
    matches = [rule.match for rule in profile.rules]
    needed = [
        kind
        for kind in DETECTORS
        if any(
            match.facts & set(kind.states) and match.protocol in (None, kind.protocol)
            for match in matches
        )
    ]
    for kind in needed:
        kind.make(False)  # what it loads is there before a packet has to wait for it
    return {way: [k for k in needed if k.protocol == way] for way in {k.protocol for k in needed}}


def _never(now: float) -> None:
    raise AssertionError("no list is kept for a rule as a whole")
