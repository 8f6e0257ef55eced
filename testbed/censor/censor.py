"""Decide what a middlebox does to each packet, from its profile, the time and a seeded generator.

For each packet, `Censor.on_packet` works in four steps:

1. Find the flow of the packet, or begin one with the detectors that the profile needs.
2. Show the packet, or the reassembled stream, to the detectors that still look at the flow, and
   keep the facts that they state.
3. Decide: the first rule whose conditions hold for the flow, the direction and the time applies.
   The decision (`Fate`) is kept until a new fact, a changed list or the time may change it.
4. Apply the effect of the rule's action, which returns the packets that leave the middlebox.

Once no detector looks at a flow and only rules that pass can apply to it, its packets are marked
as settled. The lab's kernel then forwards the flow without asking the censor again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from random import Random

from testbed.censor import local_time as time_of_day
from testbed.censor.action import Effect
from testbed.censor.actions.list import List
from testbed.censor.actions.pass_ import Pass
from testbed.censor.condition import resolve
from testbed.censor.crowd import Crowds
from testbed.censor.detectors.unknown import is_parsed_first
from testbed.censor.event import Event, applied, stated
from testbed.censor.facts import UNFINISHED, Detector, Fact, Kind, Reading
from testbed.censor.flow import Fate, Flow
from testbed.censor.lists import FlowLists
from testbed.censor.packet import Direction, Endpoint, Packet
from testbed.censor.profile import Profile, Rule
from testbed.censor.release import Release
from testbed.censor.stream import MAX_PIECES, Stream

MAX_FLOWS = 65536
"""The maximum number of flows; beyond it, the oldest flow is forgotten."""
MAX_EVENTS = 100_000
"""The maximum number of events; later ones are not kept."""


@dataclass(slots=True)
class RuleCounters:
    """What one rule did, counted in packets."""

    matched: int = 0
    dropped: int = 0
    late: int = 0
    """Packets released later than they arrived."""
    made: int = 0
    """Packets that the middlebox made itself: duplicates, and segments that end connections."""

    def count_unusual(self, packet: Packet, now: float, releases: Sequence[Release]) -> None:
        """Count a packet that was delayed or replaced, or that caused several releases."""
        itself = sum(release.data is packet.data for release in releases)
        self.dropped += not itself
        self.made += len(releases) - min(itself, 1)
        self.late += any(release.at > now for release in releases)


class Censor:
    """One middlebox during one run.

    `lists` has the IP networks behind the names that profiles use. `local_time` is the time of day
    inside the country at the time origin (`begin`), from which the times of rules and the cycles of
    lists count.

    Raises:
        ValueError: A rule names an unknown list, or `local_time` is not a time of day.
    """

    def __init__(
        self,
        profile: Profile,
        rng: Random,
        lists: Mapping[str, Sequence[str]] | None = None,
        local_time: str = time_of_day.DEFAULT,
    ) -> None:
        self.counters = {rule.name: RuleCounters() for rule in profile.rules}
        self.events: list[Event] = []
        self.packets_asked = 0
        """How many packets it was asked about."""
        self._rng = rng
        self._inspection = profile.inspection
        self.idle_s = inf if profile.inspection.idle_s is None else profile.inspection.idle_s
        """How long a flow may be idle before it is forgotten (s)."""
        self._conditions = [resolve(rule, lists or {}) for rule in profile.rules]
        self._kinds = _kinds(profile)
        self._reading = profile.inspection.reading
        self._flow_lists = FlowLists(
            (rule.action for rule in profile.rules if isinstance(rule.action, List)), rng
        )
        self._crowds = Crowds(profile.rules)
        self._flows: OrderedDict[tuple[str, Endpoint, Endpoint], Flow] = OrderedDict()
        self._shared: dict[tuple[str, bytes, Direction | None], Effect] = {}
        self._taken: OrderedDict[tuple[str, Hashable], bool] = OrderedDict()
        """Draws of rules whose share is of more than single flows, by rule and the drawn key."""
        self._hour_at_origin = time_of_day.hours(local_time)
        self._origin: float | None = None

    def begin(self, at: float) -> None:
        """Set the time origin (s), from which the times of rules and the cycles of lists count.

        The caller chooses it: in a cell it is the dialling of the call, so that transports with
        different times to connect compare; in a capture it is the first packet. Before the origin,
        rules with `from_s` do not hold, rules with only `to_s` do, no list on a cycle is updated,
        and the time of day is that at the origin.
        """
        self._origin = at
        self._flow_lists.begin(at)  # this changes the lists' version, so flows are decided anew

    def on_packet(self, packet: Packet, now: float) -> Sequence[Release]:
        """Return what leaves the middlebox for a packet that arrived at `now` (s); () drops it.

        `now` must never decrease.
        """
        self.packets_asked += 1
        if now >= self._flow_lists.next_update:
            self._flow_lists.update(now)
        flow = self._flow_of(packet, now)
        if flow.looking:
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
        if rule.match.listed is not None and rule.match.listed not in flow.counted_on:
            self._restart(rule.match.listed, flow, now)
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
        key = _key(packet.protocol, *_ends(packet))
        flow = self._flows.get(key)
        if flow is not None and now - flow.seen_at <= self.idle_s:
            flow.seen_at = now
            return flow
        if flow is not None:
            del self._flows[key]
        elif len(self._flows) >= MAX_FLOWS:
            self._flows.popitem(last=False)
        flow = self._flows[key] = self._begun(packet, now)
        return flow

    def _begun(self, packet: Packet, now: float) -> Flow:
        """Return a new flow for a packet.

        A flow of ICMP errors has the endpoints of the flow that the errors are about, so that a
        rule for ICMP can match that flow's server and port.
        """
        client, server = _ends(packet)
        opened = packet.direction
        if packet.quoted is not None:
            opened = packet.direction.opposite
            about = self._flows.get(_key(packet.quoted.protocol, client, server))
            if about is not None:
                client, server, opened = about.client, about.server, about.opened
        return Flow(
            packet.protocol,
            client=client,
            server=server,
            opened=opened,
            looking=self._detectors(packet.protocol),
            seen_at=now,
            crowds=self._crowds.begin(packet.protocol, client, server, now),
        )

    def _detectors(self, protocol: str) -> dict[Kind, tuple[Detector, float]]:
        inspection = self._inspection
        limit: int | None = inspection.packets
        if limit is not None and inspection.packets_spread:
            limit += self._rng.randint(0, inspection.packets_spread)
        return {
            kind: (
                kind.make(self._reading),
                inf if (packets := limit or kind.packets) is None else packets,
            )
            for kind in self._kinds.get(protocol, ())
        }

    def _look(self, flow: Flow, packet: Packet, now: float) -> None:
        stream = self._stream(flow, packet)
        if not packet.payload:
            return
        flow.payload_packets += 1
        if self._ends_inspection(flow, packet.payload):
            flow.looking.clear()
            flow.fates.clear()
            return
        for kind, (detector, limit) in tuple(flow.looking.items()):
            seen = stream if kind.reads_stream else packet
            # Until the beginning of a direction has arrived, the stream is empty.
            facts = detector.feed(seen, now) if seen.payload else UNFINISHED
            if not self._goes_on(facts, flow.payload_packets, limit):
                del flow.looking[kind]
                self._learn(flow, facts or (), now)
        if not flow.looking:
            flow.streams.clear()

    def _goes_on(self, facts: Sequence[Fact] | None, packets: int, limit: float) -> bool:
        """Return whether a detector that answered `facts` after `packets` packets looks further."""
        if facts is UNFINISHED:
            return packets < (limit if self._inspection.packets else max(limit, MAX_PIECES))
        return facts is None and packets < limit

    def _learn(self, flow: Flow, facts: Sequence[Fact], now: float) -> None:
        flow.fates.clear()
        for fact in facts:
            flow.learn(fact)
            self._log(now, flow, stated(fact))

    def _stream(self, flow: Flow, packet: Packet) -> Packet:
        """Return the packet with the reassembled stream of its direction as its payload.

        If the middlebox does not reassemble TCP segments, it is the packet itself.
        """
        if packet.protocol != "tcp" or "tcp-segments" not in self._reading.reassembles:
            return packet
        stream = flow.streams.setdefault(packet.direction, Stream())
        return replace(packet, payload=stream.add(packet))

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
        settled = (
            flow.has_ports
            and not flow.looking
            and all(self._only_passes(flow, way) for way in Direction)
        )
        if rule is not None and flow.logged.get(direction) != rule.name:
            flow.logged[direction] = rule.name
            self._log(now, flow, applied(direction, rule.name, rule.action))
        working = None if rule is None else self._effect(rule, flow, direction)
        fate = flow.fates[direction] = Fate(rule, working, settled, until)
        return fate

    def _first_rule(
        self, flow: Flow, direction: Direction, now: float
    ) -> tuple[Rule | None, float]:
        """Return the first rule that holds, and the time until which it stays the first (s)."""
        until = inf
        for condition in self._conditions:
            if not condition.may_hold(flow, direction):
                continue
            span = condition.holds_from_to(flow, self._flow_lists, self._origin, now)
            until = min(until, span.until)
            if span.holds and self._is_taken(condition.rule, flow, now):
                return condition.rule, until
        return None, until

    def _is_taken(self, rule: Rule, flow: Flow, now: float) -> bool:
        if rule.match.share is None:
            return True
        if rule.name not in flow.taken:
            flow.taken[rule.name] = self._draw(rule, flow, now)
        return flow.taken[rule.name]

    def _draw(self, rule: Rule, flow: Flow, now: float) -> bool:
        """Return whether a flow belongs to a rule's share; the draw is kept for flows like it."""
        key = None
        if rule.match.share_by != "flow":
            key = (rule.name, flow.key(rule.match.share_by))
            if key in self._taken:
                return self._taken[key]
        since_s = 0.0 if self._origin is None else now - self._origin
        hour = (self._hour_at_origin + since_s / 3600) % 24
        taken = self._rng.random() < rule.match.share_at(hour)
        if key is not None:
            if len(self._taken) >= MAX_FLOWS:
                self._taken.popitem(last=False)
            self._taken[key] = taken
        return taken

    def _only_passes(self, flow: Flow, direction: Direction) -> bool:
        """Return whether a flow without detectors passes for good, whatever may happen."""
        for condition in self._conditions:
            if condition.may_hold(flow, direction):
                if not isinstance(condition.rule.action, Pass):
                    return False
                if not condition.changes_with_time:
                    return True
        return True

    def _effect(self, rule: Rule, flow: Flow, direction: Direction) -> Effect | None:
        """Return the effect of a rule on a direction of a flow; several may share it."""
        action = rule.action
        whose = action.scope
        if whose in ("rule", "client"):
            address, way = (flow.client.address, direction) if whose == "client" else (b"", None)
            shared_key = (rule.name, address, way)
            if shared_key not in self._shared and len(self._shared) >= MAX_FLOWS:
                del self._shared[next(iter(self._shared))]
            working = self._shared.get(shared_key) or action.effect(self._rng, _never)
            if working is not None:
                self._shared[shared_key] = working
            return working
        key = (rule.name, direction if whose == "direction" else None)
        working = flow.effects.get(key)
        if working is None:
            working = action.effect(self._rng, partial(self._enlist, rule, flow))
            if working is not None:
                flow.effects[key] = working
        return working

    def _restart(self, name: str, flow: Flow, now: float) -> None:
        """Restart a flow's time on a list if the list's action says so, once per flow."""
        flow.counted_on.add(name)
        flow_list = self._flow_lists[name]
        if flow_list.restart(flow.key(flow_list.kept.by), now):
            self._log(now, flow, f"listed as {name} anew")

    def _enlist(self, rule: Rule, flow: Flow, now: float) -> None:
        assert isinstance(rule.action, List)
        flow.counted_on.add(rule.action.list)
        self._flow_lists.add(rule.action.list, flow.key(rule.action.by), now)
        self._log(now, flow, f"listed as {rule.action.list} by {rule.action.by}")

    def _log(self, now: float, flow: Flow, what: str) -> None:
        if len(self.events) < MAX_EVENTS:
            self.events.append(Event(now, flow.name, what))


def _ends(packet: Packet) -> tuple[Endpoint, Endpoint]:
    """Return the source and destination of a packet, or of the packet that an ICMP error quotes."""
    about = packet.quoted or packet
    return about.source, about.destination


def _key(protocol: str, one: Endpoint, other: Endpoint) -> tuple[str, Endpoint, Endpoint]:
    """Return the key of a flow, which is the same for both directions."""
    return (protocol, one, other) if one <= other else (protocol, other, one)


def _kinds(profile: Profile) -> Mapping[str, Sequence[Kind]]:
    """Return the detectors that a profile needs, by protocol."""
    needed = profile.kinds
    for kind in needed:
        kind.make(Reading())  # load the libraries it needs now, so that no packet waits for that
    return {way: [k for k in needed if k.protocol == way] for way in {k.protocol for k in needed}}


def _never(now: float) -> None:
    raise AssertionError("no list is kept for a rule as a whole")
