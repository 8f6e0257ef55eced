"""Writes what a browser counted as a censor profile: how much was lost in each direction.

Counters tell neither which packets were lost nor what flows looked like, so a rule has a
probability, and applies to all UDP in its direction; that is written with it as an assumption.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from testbed.analysis.statistics import Estimate
from testbed.censor.actions.drop import Drop
from testbed.censor.match import Match
from testbed.censor.profile import Profile, Rule
from testbed.evidence import Evidence
from testbed.tools.fitting.profile_file import LEAST_LOSS, interval, rounded
from testbed.tools.fitting.webrtc_dumps import CounterFinding


def profile_of_counters(
    found: Sequence[CounterFinding], sha256: str, *, title: str, today: str
) -> Profile:
    """Return the profile that counters amount to; `today` is a date such as `2026-11-30`."""
    description = (
        f"Fitted to what a browser counted (dump sha256:{sha256[:16]}): how much was lost in each "
        "direction. There was no control, so all of it is consistent with a bad line, too. "
        "Patterns shorter than the dump's intervals do not show in it."
    )
    rules = tuple(_rules(found, f"dump sha256:{sha256[:16]}"))
    if not rules:
        description += " Nothing was found that the profile could state."
    return Profile(title, description, rules, reviewed=today)


def _rules(found: Sequence[CounterFinding], source: str) -> Iterator[Rule]:
    """Yield a rule for the stream of each direction that has most packets, if it lost enough."""
    ways: Sequence[Literal["up", "down"]] = ("up", "down")
    for way in ways:
        own = [each for each in found if each.direction == way and each.loss is not None]
        if not own:
            continue
        largest = max(own, key=lambda each: each.packets)
        loss = largest.loss if largest.loss_since is None else largest.loss_since
        if loss is not None and loss.low > LEAST_LOSS:
            yield _rule(way, loss, largest.begins_after_s, source)


def _rule(
    way: Literal["up", "down"], loss: Estimate, begins_after_s: float | None, source: str
) -> Rule:
    evidence = {
        "match": Evidence(f"{source} does not show its flows: all UDP is meant", "assumed"),
        "action": Evidence(
            f"{source}: packets lost; that they are lost independently of each other is not shown",
            "assumed",
        ),
        "probability": Evidence(f"{source}: {interval(loss)} of {loss.n} packets", "measured"),
    }
    from_s = None
    if begins_after_s is not None:
        from_s = rounded(begins_after_s)
        evidence["from_s"] = Evidence(f"{source}: to an interval between reports", "measured")
    match = Match(protocol="udp", direction=way)
    return Rule(f"lost-{way}", match, Drop(rounded(loss.value)), evidence, from_s)
