"""Compares flows of one capture with each other: restricted ones, and those that went on.

Undisturbed flows of the same minutes are a control that each capture brings along, if a weaker one
than a recording of the same traffic: they go to other servers, maybe by other ways, and are of
another kind. So a finding that they exceed is attributed to more than the line at this end, and not
to a censor.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from scipy.stats import fisher_exact

from testbed.analysis.statistics import Estimate, share
from testbed.censor.packet import Direction
from testbed.tools.fitting.capture_reading import FlowRecord
from testbed.tools.fitting.columns import Floats
from testbed.tools.fitting.examination import Examination
from testbed.tools.fitting.fit_findings import Finding
from testbed.tools.fitting.tcp_streams import read_connection

_CHANCE = 1e-3
_LEAST_PACKETS = 100
_WENT_ON = 20
"""So many packets arrive in a flow that went on after another one was cut off."""
_LOSSES = ("drop", "burst", "police")
_CUTS = ("freeze", "reset")


@dataclass(frozen=True)
class Group:
    """What flows that the detectors tell alike lost in a direction."""

    labels: str
    """What was recognised; `nothing` if nothing was."""
    direction: str
    flows: int
    loss: Estimate


@dataclass(frozen=True)
class _Tally:
    """What one flow lost in one direction."""

    flow: FlowRecord
    direction: str
    lost: int
    of: int


def contrasted(examined: Examination) -> list[Finding]:
    """Return the findings; those that other flows of the capture do not show are marked."""
    tallies = list(_tallies(examined))
    return [
        replace(each, attribution="beyond other flows")
        if _is_beyond_others(each, examined, tallies)
        else each
        for each in examined.findings
    ]


def groups(examined: Examination) -> list[Group]:
    """Return what was lost by what the detectors recognised, where there is more than one group."""
    found: dict[tuple[str, str], list[_Tally]] = defaultdict(list)
    for each in _tallies(examined):
        labels = ", ".join(sorted(each.flow.labels)) or "nothing"
        found[each.direction, labels].append(each)
    rows = []
    for (direction, labels), own in sorted(found.items()):
        of = sum(each.of for each in own)
        if of >= _LEAST_PACKETS:
            loss = share(sum(each.lost for each in own), of)
            rows.append(Group(labels, direction, len(own), loss))
    return [row for row in rows if sum(other.direction == row.direction for other in rows) > 1]


def groups_text(found: Sequence[Group]) -> list[str]:
    """Return a sentence for each direction with more than one group."""
    sentences = []
    for direction in sorted({each.direction for each in found}):
        own = [
            f"{each.loss.value:.1%} ({each.loss.low:.1%} to {each.loss.high:.1%}) of "
            f"{each.loss.n} packets of flows recognised as {each.labels}"
            for each in found
            if each.direction == direction
        ]
        sentences.append(f"Lost {direction}: {'; '.join(own)}.")
    return sentences


def _is_beyond_others(finding: Finding, examined: Examination, tallies: Sequence[_Tally]) -> bool:
    own = next(flow for flow in examined.near.flows if flow.seen.number == finding.flow)
    others = [flow for flow in examined.near.flows if flow is not own and flow.remote != own.remote]
    if finding.kind in _CUTS and finding.after_s is not None:
        cut_s = float(own.columns.at_s[0]) + finding.after_s.value
        return any(int((_incoming_s(flow) > cut_s).sum()) >= _WENT_ON for flow in others)
    if finding.kind not in _LOSSES:
        return False
    numbers = {flow.seen.number for flow in others if _overlap(flow, own)}
    peers = [
        each
        for each in tallies
        if each.flow.seen.number in numbers and each.direction == finding.direction
    ]
    lost, of = sum(each.lost for each in peers), sum(each.of for each in peers)
    if of < _LEAST_PACKETS or finding.affected / finding.of <= lost / of:
        return False
    table = [[finding.affected, finding.of - finding.affected], [lost, of - lost]]
    return bool(fisher_exact(table).pvalue < _CHANCE)


def _incoming_s(flow: FlowRecord) -> Floats:
    return flow.columns.at_s[~flow.columns.out]


def _overlap(one: FlowRecord, other: FlowRecord) -> bool:
    return bool(
        one.columns.at_s[0] <= other.columns.at_s[-1]
        and other.columns.at_s[0] <= one.columns.at_s[-1]
    )


def _tallies(examined: Examination) -> Iterator[_Tally]:
    """Yield what flows lost, as far as it shows: by numbers, at both ends, or by TCP's repair."""
    for passage in examined.passages:
        lost = int((passage.lost & passage.counted).sum())
        yield _Tally(passage.flow, passage.direction.value, lost, int(passage.counted.sum()))
    for flow in examined.near.flows:
        if flow.seen.protocol != "tcp":
            continue
        seen = read_connection(flow)
        for direction, found in ((Direction.UP, seen.retransmitted), (Direction.DOWN, seen.filled)):
            if found is not None:
                lost = round(found.value * found.n)
                yield _Tally(flow, direction.value, lost, found.n)
