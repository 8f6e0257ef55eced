"""Examines one capture, or two captures of the same call, and states all findings.

Numbered streams and packets that both ends have show what happened to each packet
(`diagnosis`). Beside these, every flow is looked at for silence, resets and ICMP errors, and for
whether later flows to the same server got through at all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address

import numpy as np

from testbed.analysis.statistics import Estimate
from testbed.censor.icmp import TYPES
from testbed.censor.packet import Direction
from testbed.tools.fitting import triggers
from testbed.tools.fitting.capture_reading import CaptureRecord, FlowRecord, IcmpError
from testbed.tools.fitting.cut_offs import silence
from testbed.tools.fitting.diagnosis import diagnose, freeze_finding
from testbed.tools.fitting.fit_findings import Finding, Number, Unknown, Way
from testbed.tools.fitting.pairing import Pairing, pair
from testbed.tools.fitting.passages import LEAST_PACKETS, Passage, incoming_passage
from testbed.tools.fitting.tcp_streams import TcpSeen, read_connection
from testbed.tools.recognition.capture_file import CaptureError

_UNANSWERED = 5
"""So many packets without any answer are a silence; two or three may be a server that is off."""
_UNANSWERED_S = 2.0
_LEAST_AGAIN = 3
_REPLIES = {numbers[1]: reply for reply, numbers in TYPES.items()}
"""The replies that a profile knows, by ICMP's type and code."""


@dataclass(frozen=True)
class Examination:
    """What one capture, or two captures of a call, show."""

    near: CaptureRecord
    far: CaptureRecord | None
    pairing: Pairing | None
    passages: Sequence[Passage]
    findings: Sequence[Finding]
    unknown: Sequence[Unknown]
    """What these captures cannot show, whatever was done."""
    notes: Sequence[str]

    def passage(self, finding: Finding) -> Passage | None:
        """Return the passage of a finding, if it is about one."""
        for each in self.passages:
            same_way = each.direction.value == finding.direction
            if each.flow.seen.number == finding.flow and same_way:
                return each
        return None


def examine(near: CaptureRecord, far: CaptureRecord | None = None) -> Examination:
    """Examine a capture, and with `far` that of the call's other end."""
    notes = [*near.notes, *(far.notes if far else ())]
    pairing: Pairing | None = None
    if far is not None:
        try:
            pairing = pair(near, far)
        except CaptureError as error:
            notes.append(f"{error}. Only what the first one shows is used.")
    passages = _passages(near, pairing)
    findings = [finding for passage in passages for finding in diagnose(passage)]
    findings += _silences(near, pairing, findings)
    for flow in near.flows:
        if flow.seen.protocol == "tcp":
            findings += _of_connection(flow, read_connection(flow))
    findings += _answers(near)
    findings += _residual(near, findings)
    unknown = list(_unknown(near, pairing, passages))
    if all(flow.columns.out.all() for flow in near.flows):
        notes.append("Nothing came in, or the capture has one direction only.")
    return Examination(near, far, pairing, passages, findings, unknown, notes)


def _passages(near: CaptureRecord, pairing: Pairing | None) -> list[Passage]:
    """Return what is known of both directions; two captures know more than numbers."""
    passages = list(pairing.passages) if pairing else []
    known = {each.flow.seen.number for each in passages if each.direction is Direction.DOWN}
    for flow in near.flows:
        passage = incoming_passage(flow)
        if flow.seen.number not in known and passage is not None:
            passages.append(passage)
    return passages


def _silences(
    near: CaptureRecord, pairing: Pairing | None, found: Iterable[Finding]
) -> Iterator[Finding]:
    """Yield flows in which the other end falls silent, or never answers."""
    frozen = {(each.flow, each.direction) for each in found if each.kind == "freeze"}
    carried = {(p.flow.seen.number, p.direction) for p in pairing.passages} if pairing else set()
    for flow in near.flows:
        columns, number = flow.columns, flow.seen.number
        sent = int(columns.out.sum())
        received = len(columns.out) - sent
        waited_s = near.length_s - float(columns.at_s[0])
        if _has_many_receivers(flow):
            continue
        if received == 0 and sent >= _UNANSWERED and waited_s >= _UNANSWERED_S:
            yield _silence(flow, "both", sent, "packets that this end sent without any answer")
            continue
        cut = silence(flow, near.length_s)
        if cut is not None and (number, "down") not in frozen:
            yield replace(freeze_finding(_stub(flow), cut), basis="silence while this end sends")
        if pairing is None or flow.seen.protocol != "udp":
            continue
        if (number, Direction.DOWN) in carried and (number, Direction.UP) not in carried:
            media = int((columns.out & (columns.source > 0)).sum())
            if media >= LEAST_PACKETS:
                yield _silence(flow, "up", media, "packets of which the other capture has none")


def _has_many_receivers(flow: FlowRecord) -> bool:
    """Return whether a flow goes to a group or to all, so that no answer is due."""
    address = flow.remote.address
    if len(address) not in (4, 16):
        return True
    return ip_address(address).is_multicast or address == b"\xff" * 4


def _stub(flow: FlowRecord) -> Passage:
    """Return an empty passage of a flow's incoming direction."""
    empty_s, empty = np.empty(0), np.empty(0, dtype=np.int64)
    none = np.empty(0, dtype=bool)
    return Passage(
        flow, Direction.DOWN, "numbers", empty_s, empty_s, empty_s, empty, none, has_times=False
    )


def _silence(flow: FlowRecord, direction: Way, count: int, basis: str) -> Finding:
    all_ = Estimate(1.0, 1.0 - 3.0 / max(count, 3), 1.0, count)  # the rule of three
    how = "nothing arrived; lower end by the rule of three"
    unknown = (
        [Unknown("direction", "it is not known which direction is cut off, or both")]
        if direction == "both"
        else []
    )
    return Finding(
        "silence",
        flow.seen.number,
        direction,
        [Number("probability", all_, how)],
        count,
        count,
        basis,
        unknown,
    )


def _of_connection(flow: FlowRecord, seen: TcpSeen) -> Iterator[Finding]:
    """Yield what a TCP connection shows: resets and losses."""
    number = flow.seen.number
    for reset in seen.resets[:1]:
        at = Estimate(reset.after_s, reset.after_s, reset.after_s, 1)
        packets = float(reset.packets_before)
        before = Estimate(packets, packets, packets, 1)
        own_ttl = Estimate(float(reset.ttl), float(reset.ttl), float(reset.ttl), 1)
        numbers = [
            Number("after_packets", before, "packets of the connection before the reset"),
            Number("ttl", own_ttl, "the reset's own"),
        ]
        ttl = f"its TTL is {reset.ttl}"
        if reset.usual_ttl is not None:
            ttl += f", where the server's segments have {reset.usual_ttl}"
        if reset.is_foreign:
            ttl += ", so it came another way or from elsewhere"
        yield Finding(
            "reset",
            number,
            "down",
            numbers,
            len(seen.resets),
            len(seen.resets),
            f"a reset came in while the connection was open; {ttl}",
            after_s=at,
            after_packets=before,
            trigger=triggers.before(flow, reset.after_s, np.nextafter(reset.after_s, 0.0)),
        )
    for direction, share, basis in (
        (
            "up",
            seen.retransmitted,
            "segments sent again: an upper bound, acknowledgements get lost",
        ),
        ("down", seen.filled, "segments that filled a hole"),
    ):
        if share is None or share.value * share.n < _LEAST_AGAIN - 0.5:
            continue
        count = round(share.value * share.n)
        way: Way = "up" if direction == "up" else "down"
        numbers = [Number("probability", share, f"{basis}; Wilson's 95 % interval")]
        yield Finding("drop", number, way, numbers, count, share.n, "TCP's own repair")


def _answers(near: CaptureRecord) -> Iterator[Finding]:
    """Yield which flows were answered by ICMP errors."""
    by_ends = {(flow.seen.protocol, flow.local, flow.remote): flow for flow in near.flows}
    grouped: dict[tuple[int, int, int], list[IcmpError]] = defaultdict(list)
    flows: dict[int, FlowRecord] = {}
    for error in near.errors:
        quoted = error.quoted
        flow = by_ends.get((quoted.protocol, quoted.source, quoted.destination))
        if flow is not None:
            grouped[flow.seen.number, error.type_, error.code].append(error)
            flows[flow.seen.number] = flow
    for (number, type_, code), errors in grouped.items():
        flow = flows[number]
        name = _REPLIES.get((type_, code), f"type {type_}, code {code}")
        from_server = all(error.source == flow.remote.address for error in errors)
        sender = "the server's address" if from_server else "another address"
        usual = np.unique(flow.columns.ttl[~flow.columns.out])
        basis = f"ICMP {name} from {sender}, with TTL {errors[0].ttl}"
        basis += f"; the server's packets have {usual[0]}" if len(usual) else ""
        yield Finding("answer", number, "up", (), len(errors), int(flow.columns.out.sum()), basis)


def _residual(near: CaptureRecord, found: Sequence[Finding]) -> Iterator[Finding]:
    """Yield flows that got no answer after an earlier flow to the same server was cut off."""
    cut = {each.flow for each in found if each.kind in ("freeze", "reset")}
    silent = {each.flow for each in found if each.kind == "silence"}
    flows = {flow.seen.number: flow for flow in near.flows}
    for number in sorted(cut):
        first = flows[number]
        later = [each for each in silent if flows[each].remote == first.remote and each > number]
        if later:
            since_s = flows[max(later)].columns.at_s[-1] - first.columns.at_s[0]
            at = Estimate(float(since_s), 0.0, float("inf"), len(later))
            how = "at least until the last flow without an answer"
            yield Finding(
                "list",
                number,
                "both",
                [Number("for_s", at, how)],
                len(later),
                len(later),
                "flows to the same server after one that was cut off",
            )


def _unknown(
    near: CaptureRecord, pairing: Pairing | None, passages: Sequence[Passage]
) -> Iterator[Unknown]:
    if pairing is None:
        yield Unknown(
            "up",
            "one capture does not show whether what this end sends arrives: a capture of the other "
            "end would",
        )
        yield Unknown("delay", "one capture does not show how long packets take")
    else:
        yield Unknown(
            "delay of a direction",
            "clocks differ, so a constant delay is known for both directions together only",
        )
    numbered = {each.flow.seen.number for each in passages}
    for flow in near.flows:
        if flow.seen.number not in numbered and flow.seen.protocol == "udp":
            yield Unknown(
                flow.name, "its packets have no numbers in clear, so losses do not show at one end"
            )
