"""Tell in sentences what the middlebox recognised of a call, what it did, and how the call went."""

from __future__ import annotations

from collections.abc import Iterator

from testbed.call.quality.verdict import Verdict
from testbed.censor.event import parse
from testbed.censor.facts import Fact
from testbed.record.cell_record import OPEN, CellRecord
from testbed.show.answer.wording import listed
from testbed.show.drawing.words import tied

_MOST = 4
"""Up to this many things that were recognised are named."""
_DID = {"dropped": "dropped", "late": "held back", "made": "answered or copied"}
"""What a middlebox does to packets, by the counters of its rules, in words."""


def story(call: CellRecord) -> str:
    """Return what happened to a call, for somebody who is no engineer."""
    parts = [
        f"{_recognised(call)} {_did(call)}" if call.censor != OPEN else "Nothing restricted it."
    ]
    parts.append(_end(call))
    return tied(" ".join(parts))


def _recognised(call: CellRecord) -> str:
    found: dict[str, float] = {}
    chat = f" > {call.observation.chat.server}"
    for at_s, flow, what in call.observation.events:
        fact = parse(what)
        if isinstance(fact, Fact) and not fact.value and not flow.endswith(chat):
            found.setdefault(fact.name, at_s)
    if not found:
        return "The middlebox recognised nothing in it,"
    names = [f"{name} {_when(at_s)}" for name, at_s in list(found.items())[:_MOST]]
    more = ["more"] if len(found) > _MOST else []
    return f"The middlebox recognised {listed([*names, *more])},"


def _when(at_s: float) -> str:
    return "before dialling" if at_s < 0 else f"{at_s:.1f} s after dialling"


def _did(call: CellRecord) -> str:
    stated = list(_done(call))
    if not stated:
        return "and let all of its packets pass."
    return f"and {listed(stated)}."


def _done(call: CellRecord) -> Iterator[str]:
    for name, rule in call.observation.rules.items():
        for counter, verb in _DID.items():
            if count := rule.get(counter, 0):
                yield f"{verb} {count} of {rule['matched']} packets (rule {name})"


def _end(call: CellRecord) -> str:
    if call.verdict is Verdict.NO_CALL:
        reason = call.observation.call.reason or next(iter(call.quality.reasons), "")
        return f"There was no call: {reason}." if reason else "There was no call."
    worst = next(iter(call.quality.reasons), "")
    because = f": {worst}" if worst else ""
    after = "" if call.set_up_s is None else f" set up after {call.set_up_s:.1f} s and"
    return f"The call was{after} {call.verdict}{because}."
