"""Summarise what the middlebox saw of each transport, and what it did to it, from the record.

This distinguishes "blocked" from "bad at calls". If a call fails although no rule except `pass` (or
`list`) matched a flow of its transport, the transport or the path is the cause, not the censor.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from testbed.analysis.groups import grouped
from testbed.call.quality.verdict import Verdict
from testbed.record.cell_record import CallKey, CellRecord
from testbed.record.observation import Observation
from testbed.record.results import RecordedCell

_RULE = re.compile(r"(?P<way>up|down): rule (?P<rule>.+?): (?P<action>.+)")
_FACT = re.compile(r"recognised as (?P<label>.+)|(?P<name>\S+) = (?P<value>.*)")
_HARMLESS = ("pass", "list")
"""The kinds of actions that do not affect the packets of a matching flow."""
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
    """The rules that matched any of the flows, with actions: `stun: drop, probability 0.3`."""
    meaning: str
    """The conclusion, in words."""


def saw(cells: Iterable[RecordedCell]) -> list[Seen]:
    """Return the middlebox's view of each transport of a run, in the order of the first calls."""
    return [_seen(key, [cell.record for cell in group]) for key, group in grouped(cells).items()]


def _seen(key: CallKey, group: Sequence[CellRecord]) -> Seen:
    whats = dict.fromkeys(what for result in group for what in _of_transport(result.observation))
    rules = dict.fromkeys(
        f"{found['rule']}: {found['action']}" for what in whats if (found := _RULE.fullmatch(what))
    )
    facts = dict.fromkeys(
        found["label"] or what
        for what in whats
        if not _RULE.fullmatch(what) and (found := _FACT.fullmatch(what))
    )
    return Seen(
        key,
        Counter(result.verdict.label for result in group),
        tuple(facts),
        tuple(rules),
        _meaning(group, tuple(facts), tuple(rules)),
    )


def labels_of(call: CellRecord) -> set[str]:
    """Return the labels of what detectors recognised in a call's flows, except the chat's."""
    found = (_FACT.fullmatch(what) for what in _of_transport(call.observation))
    return {fact["label"] for fact in found if fact and fact["label"]}


def _of_transport(observation: Observation) -> list[str]:
    """Return what the middlebox recorded about all flows except the chat's."""
    chat = f" > {observation.chat.server}"
    return [what for _, flow, what in observation.events if not flow.endswith(chat)]


def _meaning(group: Sequence[CellRecord], facts: Sequence[str], rules: Sequence[str]) -> str:
    met = [rule for rule in rules if rule.partition(": ")[2].partition(",")[0] not in _HARMLESS]
    failed = [result for result in group if result.verdict not in _WORKS]
    reasons = dict.fromkeys(result.observation.call.reason for result in failed)
    because = "".join(f": {reason}" for reason in list(reasons)[:1] if reason)
    if not failed:
        unseen = "passes, and is recognised" if facts else "passes unrecognised"
        return "works all the same" if met else unseen
    how = "" if len(failed) == len(group) else f"{len(failed)} of {len(group)} "
    if met:
        return f"{how}restricted{because}"
    connects = any(result.observation.transport.connect_s is not None for result in failed)
    what = "bad at calls" if connects else "does not connect"
    return f"{how}{what}, not restricted{because}"
