"""Tests whether a rule affects the flows that it should, and no others.

A vector is a flow to which the rule applies, or one that differs from it in a single respect:
server, port, name, opening, the side that opens it, or (for lists) the ends that it shares with a
listed flow. All vectors of a rule are played one after another across one middlebox, each followed
by loads that reveal the rule and any rule that would apply instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Network
from typing import Literal, NamedTuple

from testbed.censor.actions.list import List
from testbed.censor.profile import Rule
from testbed.censor.trial import Load
from testbed.tools.calibration.composition import End, Observation, Script, Talk
from testbed.tools.calibration.experiment import INSIDE
from testbed.tools.calibration.findings import Vector
from testbed.tools.calibration.flows import copies, settle_s, starts_s
from testbed.tools.calibration.openings import NAME, openings, silent
from testbed.tools.calibration.probe import Probe
from testbed.tools.calibration.reference import (
    AMBIGUOUS,
    NEUTRAL,
    Expected,
    Reference,
    Shape,
    ports_beside,
    renamed,
    some_of,
    witness,
)
from testbed.tools.calibration.signed import spoilt
from testbed.tools.calibration.treatment import agrees

_OF_NOTHING = Load(10)
"""The load that reveals that nothing is done."""
_COPIES_OF_OTHERS = 8
"""How often a flow is tried about which no share should decide."""


class Variation(NamedTuple):
    """A flow to be tried."""

    what: str
    shape: Shape
    same: Sequence[End] = ()
    """The ends that it shares with the first flow, if it is a neighbour of that."""


def probe_vectors(reference: Reference, rule: Rule, shape: Shape) -> Probe:
    """Return the experiment that tries a rule's flows and their neighbours across one middlebox."""
    script = Script(f"{rule.name} vectors", reference, starts_s=starts_s(rule))
    tried: list[tuple[Variation, list[Talk]]] = []
    for variation in _variations(reference, rule, shape):
        tried.append((variation, _try(script, rule, variation, tried[0][1] if tried else [])))

    def judge(seen: Observation) -> Sequence[Vector]:
        return [
            _judged(rule, variation.what, talks, seen, drawn_once=_drawn_once(reference, talks))
            for variation, talks in tried
        ]

    return Probe(script.experiment(), judge)


def _copies(reference: Reference, talk: Talk) -> int:
    """Return how often a flow is tried: less often if no share should decide about it."""
    count = copies(reference, reference.profile.rules)
    depends = any(s.expected is not s.otherwise for s in talk.said)
    return count if depends else min(count, _COPIES_OF_OTHERS)


def _try(script: Script, rule: Rule, variation: Variation, first: Sequence[Talk]) -> list[Talk]:
    """Open as many flows as needed, wait for lists to take effect, and send what reveals rules."""
    talks = [_begin(script, variation, first, 0)]
    for number in range(1, _copies(script.reference, talks[0])):
        talks.append(_begin(script, variation, first, number))
    script.now_s += max(settle_s(script.reference, talk) for talk in talks)
    for talk in talks:
        at_s = script.now_s
        for each in _loads(script.reference, rule, talk, at_s):
            script.send(talk, each, at_s)
            at_s = script.now_s + each.gap_s
        script.now_s += 0.01
    return talks


def _begin(script: Script, variation: Variation, first: Sequence[Talk], number: int) -> Talk:
    beside = first[number] if variation.same and number < len(first) else None
    return script.begin(variation.shape, beside=beside, same=variation.same if beside else ())


def _loads(reference: Reference, rule: Rule, talk: Talk, at_s: float) -> list[Load]:
    """Return the loads that reveal the rule, the rules that decide, and those that else would."""
    lists = {r.action.list for r in reference.profile.rules if isinstance(r.action, List)}
    relevant: list[Expected] = [rule]
    for listed in (frozenset[str](), frozenset(lists)):
        for without in (None, rule):
            for up in (True, False):
                relevant.append(
                    reference.expected(
                        talk.shape, talk.known, up=up, at_s=at_s, listed=listed, without=without
                    )
                )
    rules = (each for each in relevant if isinstance(each, Rule))
    found = [each.action.load() for each in rules if each.action.acts]
    return list(dict.fromkeys(found)) or [_OF_NOTHING]


def _drawn_once(reference: Reference, talks: Sequence[Talk]) -> bool:
    """Return whether flows have one server, for which a rule draws its share once for all."""
    by_server = any(r.match.share_by.startswith("server") for r in reference.profile.rules)
    return by_server and len({talk.server.address for talk in talks}) == 1


def _judged(
    rule: Rule, what: str, talks: Sequence[Talk], seen: Observation, *, drawn_once: bool
) -> Vector:
    said = [s for talk in talks for s in talk.said]
    expected = ", ".join(
        f"{'up' if up else 'down'}: {_name([s.expected for s in said if s.up is up])}"
        for up in (True, False)
    )
    verdicts = [agrees(talk, seen) for talk in talks]
    if any(s.expected is not s.otherwise for s in said):
        otherwise = [agrees(talk.untaken(), seen) for talk in talks]
        ok = (drawn_once or any(v[0] for v in verdicts)) and all(
            v[0] or o[0] for v, o in zip(verdicts, otherwise, strict=True)
        )
    else:
        ok = all(v[0] for v in verdicts)
    return Vector(
        rule.name, what, expected, ok, "" if ok else next((v[1] for v in verdicts if not v[0]), "")
    )


def _name(expected: Sequence[Expected]) -> str:
    """Return the name of the last unambiguous rule: the one for the flow once it is recognised."""
    sure = [each for each in expected if each != AMBIGUOUS]
    last = sure[-1] if sure else None
    return last.name if isinstance(last, Rule) else "no rule"


def _variations(reference: Reference, rule: Rule, shape: Shape) -> Iterator[Variation]:
    yield Variation(_told(shape), shape)
    seen = {shape}
    for variation in (
        *_beside(rule, shape),  # while it is listed
        *_other_ends(reference, rule, shape),
        *_other_names(rule, shape),
        *_other_openings(reference, rule, shape),
    ):
        if variation.shape not in seen or variation.same:
            seen.add(variation.shape)
            yield variation


def _told(shape: Shape) -> str:
    named = "".join(f" {value}" for key, value in shape.opening.values.items() if key != "alpn")
    return f"{shape.protocol} {shape.opening.name}{named}, port {shape.port}"


def _other_ends(reference: Reference, rule: Rule, shape: Shape) -> Iterator[Variation]:
    match = rule.match
    for port in ports_beside(match):
        yield Variation(f"port {port}", replace(shape, port=port))
    if match.servers:
        for what, network in reference.beside(rule):
            yield Variation(what, replace(shape, servers=network))
    if match.opened is not None:
        way: Literal["inside", "outside"] = "outside" if shape.opened == "inside" else "inside"
        servers = IPv4Network(INSIDE) if way == "outside" else NEUTRAL
        yield Variation(f"opened {way}", replace(shape, opened=way, servers=servers))
    if match.flows is not None:
        yield Variation("one flow too few", replace(shape, rank=match.flows - 1))
    if match.client_port is not None:
        yield Variation("client's port below the server's", replace(shape, client_above=False))


def _other_names(rule: Rule, shape: Shape) -> Iterator[Variation]:
    for name, patterns in rule.match.values.items():
        for text in some_of(patterns):
            for what in (witness(text), witness(text) + ".x", NAME):
                if (other := renamed(shape, **{name: what})) is not None:
                    yield Variation(f"{name} {what}", other)


def _other_openings(reference: Reference, rule: Rule, shape: Shape) -> Iterator[Variation]:
    """Yield other openings: all of the protocol if they matter, and those of other protocols."""
    match = rule.match
    if match.facts or match.inspected:
        spoilt_ones = () if match.payload is None else spoilt(match.payload, shape.protocol)
        for opening in (*reference.carriers(shape.protocol, match), *spoilt_ones):
            yield Variation(f"as {opening.name}", replace(shape, opening=opening))
    for protocol in ("udp", "tcp", "icmp"):
        if protocol != shape.protocol:
            packets = max(2, reference.looks(protocol))
            other = replace(shape, opening=silent(protocol, packets))
            yield Variation(f"{protocol} zeros", other)


def _beside(rule: Rule, shape: Shape) -> Iterator[Variation]:
    """Yield flows that share some of their ends with one that was put on a list."""
    if not isinstance(rule.action, List):
        return
    first = next(o for o in openings() if o.protocol == shape.protocol)
    quiet = replace(shape, opening=first, rank=1)
    yield Variation("next to it, from another port", quiet, ("client", "server"))
    yield Variation("next to it, from another client", quiet, ("server",))
    yield Variation("next to it, to another server", quiet, ("client",))
    yield Variation(
        "next to it, to another port", replace(quiet, port=shape.port + 1), ("client", "server")
    )
