"""Summarise what the middlebox saw of each transport, and what it did to it, from the record.

This distinguishes "blocked" from "bad at calls". If a call fails although no rule except `pass` (or
`list`) matched a flow of its transport, the transport or the path is the cause, not the censor.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from testbed.analysis.groups import grouped
from testbed.call.quality.verdict import Verdict
from testbed.censor.event import Applied, acts, parse
from testbed.censor.facts import Fact
from testbed.record.cell_record import DIRECT, CallKey, CellRecord
from testbed.record.observation import Observation
from testbed.record.results import RecordedCell

_WORKS = (Verdict.GOOD, Verdict.USABLE)


@dataclass(frozen=True)
class Seen:
    """What the middlebox saw of the transport in calls that differ only in their seed."""

    key: CallKey
    verdicts: Mapping[str, int]
    """Calls by verdict."""
    facts: tuple[str, ...]
    """What was detected in any of the flows: `stun`, `tls-sni = www.example`."""
    rules: tuple[str, ...]
    """The rules that matched any of the flows, with actions: `stun: drop, probability 0.3`. Those
    of a stack have the part's name before them."""
    meaning: str
    """The conclusion, in words."""
    prevented: tuple[str, ...] = ()
    """What was detected in direct calls, which differ in nothing else, and not in these."""


def saw(cells: Iterable[RecordedCell]) -> list[Seen]:
    """Return the middlebox's view of each transport of a run, in the order of the first calls."""
    groups = {key: [cell.record for cell in group] for key, group in grouped(cells).items()}
    return [
        _seen(key, group, groups.get(key._replace(transport=DIRECT), ()))
        for key, group in groups.items()
    ]


def _seen(key: CallKey, group: Sequence[CellRecord], direct: Sequence[CellRecord]) -> Seen:
    events = _events(group)
    rules = {f"{e.rule}: {e.action}": e.action for e in events if isinstance(e, Applied)}
    facts = _facts(events)
    return Seen(
        key,
        Counter(result.verdict.label for result in group),
        tuple(facts),
        tuple(rules),
        _meaning(group, tuple(facts), rules.values()),
        tuple(fact for fact in _facts(_events(direct)) if fact not in facts),
    )


def _events(group: Sequence[CellRecord]) -> list[Applied | Fact | None]:
    whats = dict.fromkeys(what for result in group for what in _of_transport(result.observation))
    return [_with_part(part, parse(what)) for part, what in whats]


def _with_part(part: str, event: Applied | Fact | None) -> Applied | Fact | None:
    """Return an event in which a rule's name has the part of the stack before it, if any."""
    if part and isinstance(event, Applied):
        return event._replace(rule=f"{part}: {event.rule}")
    return event


def _facts(events: Iterable[object]) -> dict[str, None]:
    return dict.fromkeys(
        f"{e.name} = {e.value}" if e.value else e.name for e in events if isinstance(e, Fact)
    )


def labels_of(call: CellRecord) -> set[str]:
    """Return the labels of what detectors recognised in a call's flows, except the chat's."""
    events = (parse(what) for _, what in _of_transport(call.observation))
    return {event.name for event in events if isinstance(event, Fact) and not event.value}


def _of_transport(observation: Observation) -> list[tuple[str, str]]:
    """Return what middleboxes recorded about all flows except the chat's, each after its part."""
    chat = f" > {observation.chat.server}"
    found = [
        (at, middlebox.part, what)
        for middlebox in observation.middleboxes.values()
        for at, flow, what in middlebox.events
        if not flow.endswith(chat)
    ]
    return [(part, what) for _, part, what in sorted(found, key=lambda event: event[0])]


def _meaning(group: Sequence[CellRecord], facts: Sequence[str], actions: Iterable[str]) -> str:
    """Return the conclusion; `actions` are those that applied, as the log describes them."""
    met = any(map(acts, actions))
    failed = [result for result in group if result.verdict not in _WORKS]
    reasons = dict.fromkeys(result.observation.call.reason for result in failed)
    because = "".join(f": {reason}" for reason in list(reasons)[:1] if reason)
    if not failed:
        passes = "works, recognised" if facts else "works, not recognised"
        return "works in spite of the rules" if met else passes
    how = "" if len(failed) == len(group) else f"{len(failed)} of {len(group)} "
    if met:
        return f"{how}restricted{because}"
    connects = any(result.observation.transport.connect_s is not None for result in failed)
    what = "unsuited to calls" if connects else "does not connect"
    return f"{how}{what}, not restricted{because}"
