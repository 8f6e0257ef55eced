"""Put what a middlebox found or began to do into the words of its log, and read them back."""

from __future__ import annotations

import re
from typing import NamedTuple

from testbed.censor.action import Action, described
from testbed.censor.actions import ACTIONS
from testbed.censor.facts import Fact
from testbed.censor.packet import Direction

_APPLIED = re.compile(r"(?P<direction>up|down): rule (?P<rule>.+?): (?P<action>.+)")
_STATED = re.compile(r"recognised as (?P<label>.+)|(?P<name>\S+) = (?P<value>.*)", re.DOTALL)


class Event(NamedTuple):
    """Something that the censor found or began to do, for the log."""

    at: float
    flow: str
    what: str


class Applied(NamedTuple):
    """A rule became the first to match a direction of a flow."""

    direction: str
    rule: str
    action: str
    """The action with its parameters."""


def stated(fact: Fact) -> str:
    """Say that a detector has stated a fact."""
    return f"{fact.name} = {fact.value}" if fact.value else f"recognised as {fact.name}"


def applied(direction: Direction, rule: str, action: Action) -> str:
    """Say that a rule applies to a direction of a flow."""
    return f"{direction.value}: rule {rule}: {described(action)}"


def acts(action: str) -> bool:
    """Return whether an action, as the log describes it, affects packets.

    One that is not known here, of a record by another version, is taken to do so.
    """
    kind = action.partition(",")[0]
    return kind not in ACTIONS or ACTIONS[kind].acts


def parse(what: str) -> Applied | Fact | None:
    """Return the rule or the fact that an event is about; None for any other event."""
    if (rule := _APPLIED.fullmatch(what)) is not None:
        return Applied(rule["direction"], rule["rule"], rule["action"])
    if (fact := _STATED.fullmatch(what)) is not None:
        return Fact(fact["label"] or fact["name"], fact["value"] or "")
    return None
