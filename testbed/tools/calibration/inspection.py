"""Measures how far a middlebox inspects flows: how many packets, of what size, for how long.

Inspection has no effect of its own, so each experiment needs a witness: a rule that affects exactly
those flows that were recognised, or those that were not. Flows reveal what they are around the
limit in question (the Nth packet, a silence, a fragmented ClientHello), and the witness then shows
whether the middlebox noticed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import ceil, inf, log
from typing import NamedTuple

from testbed.censor.detectors.client_hello import HELLO_VALUES
from testbed.censor.facts import Reading
from testbed.censor.opening import Opening, Step
from testbed.censor.packet import Direction, Endpoint, parse_packet
from testbed.censor.profile import Rule
from testbed.censor.trial import SMALL
from testbed.tools.calibration.composition import Observation, Script, Talk
from testbed.tools.calibration.cuts import Cut, cuts
from testbed.tools.calibration.findings import Finding, Measurement, Vector
from testbed.tools.calibration.flows import copies, longest_wait_s, settle_s
from testbed.tools.calibration.openings import filler
from testbed.tools.calibration.packets import packet
from testbed.tools.calibration.probe import Probe
from testbed.tools.calibration.reference import Known, Reference, Shape
from testbed.tools.calibration.times import Look, Trial, around, limit, look

_UNSEEN = 5e-4
"""The probability that flows with different limits all look as if they had the same."""
_OF_HELLO = {"tls-client-hello", "tls-1.3", "dtls-client-hello", *HELLO_VALUES}
"""Facts that only a complete ClientHello reveals."""
_FLOWS = 4
"""The number of flows where all flows have the same limit."""


class Witness(NamedTuple):
    """A rule whose effect shows whether a flow was recognised."""

    rule: Rule
    shape: Shape
    shows: Rule
    """The rule whose load makes the effect visible."""
    is_touched: bool
    """Whether recognised flows are the affected ones; False: those that are not recognised."""


def probe_inspection(reference: Reference) -> Iterator[Probe]:
    """Yield the experiments for the inspection settings of a profile's middlebox."""
    inspection = reference.profile.inspection
    single = [w for w in _witnesses(reference) if len(w.shape.opening.steps) == 1]
    going_on = [w for w in single if _goes_on(w, reference)]
    if inspection.packets is not None:
        yield _or_nothing(("packets", "packets_spread"), going_on, reference, _packets)
    if inspection.unparsed_bytes is not None:
        of_tcp = [w for w in going_on if w.shape.protocol == "tcp"]
        yield _or_nothing(("unparsed_bytes",), of_tcp, reference, _unparsed)
    if inspection.idle_s is not None:
        lasting = [w for w in _witnesses(reference) if w.is_touched and w.rule.action.acts]
        starting = [w for w in single if w.is_touched and not _goes_on(w, reference)]
        probe = _forgotten if lasting else _looked_at_anew
        yield _or_nothing(("idle_s",), lasting or starting, reference, probe)
    seen = set()
    for witness in single:
        name = witness.shape.opening.name
        if (
            witness.rule.match.facts & _OF_HELLO
            and name not in seen
            and cuts(witness.shape.opening)
        ):
            seen.add(name)
            yield _in_pieces(reference, witness)


def probe_depth(reference: Reference, rule: Rule, shape: Shape) -> Iterator[Probe]:
    """Yield the experiment for a rule's own limit of packets: facts come just before and after."""
    limit = rule.match.within_packets
    witness = next((w for w in _witnesses(reference) if w.rule is rule), None)
    if limit is None:
        return
    if witness is None or len(shape.opening.steps) > 1 or not _goes_on(witness, reference):
        how = "no flow reveals the rule's facts later than with its first packet"
        yield _not_seen(Measurement(rule.name, "within_packets", limit, None, how=how))
        return
    script = Script(f"{rule.name} within_packets", reference)
    places = sorted({1, limit - 1, limit, limit + 1, limit + 2} - {0})
    talks = {
        place: _flow(script, witness, _led(shape.opening, [SMALL] * (place - 1)))
        for place in places
    }

    def judge(seen: Observation) -> Sequence[Finding]:
        known = [n for n, talk in talks.items() if _recognised(witness, talk, seen)]
        missed = [n for n in places if n not in known]
        last, first = max(known, default=0), min(missed, default=inf)
        how = "the last packet with payload at which the rule still applied"
        return [
            Measurement(rule.name, "within_packets", limit, last, last, first - 1, len(places), how)
        ]

    yield Probe(script.experiment(), judge)


def _witnesses(reference: Reference) -> Iterator[Witness]:
    """Yield the rules that affect flows which reveal a fact, or those which do not."""
    for rule in reference.profile.rules:
        shape = reference.trigger(rule) if rule.match.facts else None
        if shape is None:
            continue
        shown, hidden = (
            _acting(reference, rule, shape, known)
            for known in (
                Known(
                    shape.opening.labels,
                    shape.opening.values,
                    reference.is_inspected(shape.opening),
                ),
                Known(inspected=True),
            )
        )
        if (shown is None) is not (hidden is None):
            yield Witness(rule, shape, shown or hidden or rule, shown is not None)


def _acting(reference: Reference, rule: Rule, shape: Shape, known: Known) -> Rule | None:
    """Return the rule that affects a flow; None if no rule does."""
    for up in (True, False):
        got = reference.expected(shape, known, up=up, at_s=rule.from_s or 0.0)
        if not isinstance(got, Rule):
            continue
        shows = reference.shows(got)
        if shows is not None:
            return shows
    return None


def _goes_on(witness: Witness, reference: Reference) -> bool:
    """Return whether the detectors of a rule's facts go on after a payload of zeros."""
    facts, protocol = witness.rule.match.facts, witness.shape.protocol
    ends = Endpoint(bytes(4), 50_000), Endpoint(bytes(4), 9)
    zeros = parse_packet(packet(protocol, *ends, filler(SMALL), 1), Direction.UP)
    needed = reference.profile.kinds
    kinds = [k for k in needed if k.protocol == protocol and facts <= set(k.states)]
    return any(kind.make(Reading()).feed(zeros, 0.0) is None for kind in kinds)


def _or_nothing(
    numbers: Sequence[str],
    witnesses: Sequence[Witness],
    reference: Reference,
    probe: Callable[[Reference, Witness], Probe],
) -> Probe:
    """Return the experiment with the first witness of some numbers; without any, report that."""
    if witnesses:
        return probe(reference, witnesses[0])
    inspection = reference.profile.inspection
    wanted = {n: v for n in numbers if (v := getattr(inspection, n)) is not None}

    why = "no rule of this profile depends on it in a way that packets reveal"
    return _not_seen(
        *(
            Measurement("inspection", number, value, None, how=why, is_inherent=True)
            for number, value in wanted.items()
        )
    )


def _not_seen(*found: Measurement) -> Probe:
    """Return an empty experiment that reports numbers as not measured."""

    def judge(seen: Observation) -> Sequence[Finding]:
        del seen
        return found

    return Probe(Script.empty(f"{found[0].rule} {found[0].number}"), judge)


def _led(opening: Opening, payloads: Sequence[int]) -> Opening:
    """Return an opening preceded by payloads that reveal nothing, of the given sizes."""
    return replace(opening, steps=(*(Step(filler(size)) for size in payloads), *opening.steps))


def _flow(script: Script, witness: Witness, opening: Opening) -> list[Talk]:
    """Open flows and send what shows whether they were recognised.

    If rules affect only a share of flows, several are opened, between different clients and
    servers, so that almost surely one falls into each rule's share.
    """
    reference = script.reference
    shape = replace(witness.shape, opening=opening)
    talks = [script.begin(shape) for _ in range(_copies(reference))]
    for talk in talks:
        wait_s = settle_s(reference, talk) + 1e-3
        look(script, witness.shows, talk, talk.ready_s + wait_s)
    script.now_s += 1e-2
    return talks


def _recognised(witness: Witness, talks: Sequence[Talk], seen: Observation) -> bool:
    return any(seen.is_hit(talk) for talk in talks) is witness.is_touched


def _packets(reference: Reference, witness: Witness) -> Probe:
    """Return the experiment in which flows are recognisable by their Nth packet, N near limits."""
    inspection = reference.profile.inspection
    first, spread = inspection.packets or 0, inspection.packets_spread or 0
    flows = ceil(log(_UNSEEN) / log(spread / (spread + 1))) if spread else _FLOWS
    places = sorted({first - 1, first, first + 1, first + spread, first + spread + 1} - {0})
    size = min(SMALL, (inspection.unparsed_bytes or SMALL + 1) - 1)
    script = Script("inspection packets", reference)
    talks = {
        place: [
            _flow(script, witness, _led(witness.shape.opening, [size] * (place - 1)))
            for _ in range(flows)
        ]
        for place in places
    }

    def judge(seen: Observation) -> Sequence[Finding]:
        shares = {
            place: sum(_recognised(witness, talk, seen) for talk in talks[place]) / flows
            for place in places
        }
        return _of_packets(first, spread, shares, flows)

    return Probe(script.experiment(), judge)


def _of_packets(first: int, spread: int, shares: dict[int, float], flows: int) -> list[Measurement]:
    """Return the last N at which all flows were recognised, and the last at which any was."""
    of_all = [place for place, share in shares.items() if share == 1]
    not_all = [place for place, share in shares.items() if share < 1]
    of_none = [place for place, share in shares.items() if share == 0]
    of_any = [place for place, share in shares.items() if share]
    all_low, all_high = max(of_all, default=0), min(not_all, default=inf) - 1
    any_low, any_high = max(of_any, default=0), min(of_none, default=inf) - 1
    n = flows * len(shares)
    found = [
        Measurement(
            "inspection", "packets", first, all_low, all_low, all_high, n,
            "last packet by which all flows were recognised",
        )
    ]  # fmt: skip
    if spread:
        found.append(
            Measurement(
                "inspection", "packets_spread", spread, any_low - all_low, any_low - all_high,
                any_high - all_low, n,
                "from that packet to the last by which any flow was recognised",
            )
        )  # fmt: skip
    return found


def _unparsed(reference: Reference, witness: Witness) -> Probe:
    """Return the experiment whose flows begin with an unknown packet of a size near the limit."""
    least = reference.profile.inspection.unparsed_bytes or 0
    sizes = sorted({1, least // 2, least - 1, least, least + 1, 2 * least} - {0})
    script = Script("inspection unparsed_bytes", reference)
    talks = {size: _flow(script, witness, _led(witness.shape.opening, [size])) for size in sizes}

    def judge(seen: Observation) -> Sequence[Finding]:
        known = [size for size, talk in talks.items() if _recognised(witness, talk, seen)]
        missed = [size for size in sizes if size not in known]
        if not known or not missed:
            how = "every flow was recognised" if known else "no flow was recognised"
            return [Measurement("inspection", "unparsed_bytes", least, None, how=how)]
        low, high = max(known) + 1, min(missed)
        how = "the smallest size after which a flow is not recognised"
        return [
            Measurement("inspection", "unparsed_bytes", least, high, low, high, len(sizes), how)
        ]

    return Probe(script.experiment(), judge)


def _idle(
    reference: Reference, trials: Sequence[Trial], script: Script, *, hit_before: bool
) -> Probe:
    idle_s = reference.profile.inspection.idle_s or 0

    def judge(seen: Observation) -> Sequence[Finding]:
        found = limit(
            "inspection", "idle_s", idle_s, trials, seen, hit_before=hit_before, by_first=True
        )
        return [found]

    return Probe(script.experiment(), judge)


def _forgotten(reference: Reference, witness: Witness) -> Probe:
    """Return the experiment that tests how long a recognised flow is remembered while silent."""
    script = Script("inspection idle_s", reference)
    trials = []
    for after_s in around(reference.profile.inspection.idle_s or 0):
        trial: list[Look] = []
        for talk in [script.begin(witness.shape) for _ in range(_copies(reference))]:
            last_s = talk.said[-1].at_s
            trial += look(script, witness.shows, talk, last_s + after_s, since_s=last_s)
        trials.append(trial)
        script.now_s += 1
    return _idle(reference, trials, script, hit_before=True)


def _looked_at_anew(reference: Reference, witness: Witness) -> Probe:
    """Return the experiment that tests after which silence a flow is inspected anew."""
    script = Script("inspection idle_s", reference)
    trials = []
    for after_s in around(reference.profile.inspection.idle_s or 0):
        # The opening begins with a payload that ends inspection; the revealing one follows late.
        opening = replace(_led(witness.shape.opening, [SMALL]), gap_s=after_s)
        shape = replace(witness.shape, opening=opening)
        began_s, trial = script.now_s, list[Look]()
        for number in range(_copies(reference)):
            talk = script.begin(shape, began_s + number * 1e-3)
            last_s = talk.said[-2].at_s
            wait_s = longest_wait_s(reference.profile.rules) + 1e-2
            looked = look(script, witness.shows, talk, talk.said[-1].at_s + wait_s, since_s=last_s)
            trial += [each._replace(after_s=each.after_s - wait_s) for each in looked]
        trials.append(trial)
        script.now_s += 1
    return _idle(reference, trials, script, hit_before=False)


def _copies(reference: Reference) -> int:
    """Return how many flows are needed so that almost surely one falls into each rule's share."""
    return copies(reference, reference.profile.rules)


def _in_pieces(reference: Reference, witness: Witness) -> Probe:
    """Return the experiment whose flows are recognisable by a ClientHello split in various ways."""
    opening = witness.shape.opening
    script = Script(f"inspection {opening.name} in pieces", reference)
    tried = []
    for cut in cuts(opening):
        *first, last = cut.payloads
        steps = (*map(Step, first), Step(last, opening.labels))
        pieces = replace(opening, steps=steps)
        tried.append((cut, _flow(script, witness, pieces)))

    def judge(seen: Observation) -> Sequence[Finding]:
        return [_of_pieces(reference, witness, cut, talks, seen) for cut, talks in tried]

    return Probe(script.experiment(), judge)


def _of_pieces(
    reference: Reference, witness: Witness, cut: Cut, talks: Sequence[Talk], seen: Observation
) -> Vector:
    known = _recognised(witness, talks, seen)
    wanted = cut.is_read(reference.profile.inspection.reading)
    expected, stated = (f"{'' if yes else 'not '}recognised" for yes in (wanted, known))
    what = f"{witness.shape.opening.name} {cut.how}"
    return Vector("inspection", what, expected, known is wanted, f"it was {stated}")
