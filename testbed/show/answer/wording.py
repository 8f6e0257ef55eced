"""Word counts, names and lists, for everything that answers a question in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from testbed.analysis.statistics import CONFIDENCE, Estimate, share
from testbed.experiment.transport_facts import TransportFacts
from testbed.record.cell_record import DIRECT

Known = Mapping[str, TransportFacts]
"""What is known of transports, by the name of their file in `transports/`."""
_APPS = 2
"""How many apps are named with a protocol; the brief has all."""
_FEW = 4
"""Up to this many names are listed; of more, the rest is counted."""


def listed(names: Sequence[str], word: str = "and") -> str:
    """Return names as part of a sentence: "a, b and c"."""
    return f" {word} ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def few(names: Sequence[str]) -> str:
    """Return names as part of a sentence; of many, the first ones and the number of the others."""
    if len(names) <= _FEW:
        return listed(names)
    return f"{', '.join(names[: _FEW - 1])} and {len(names) - _FEW + 1} more"


def capital(text: str) -> str:
    """Return text that begins with a capital letter."""
    return text[:1].upper() + text[1:]


def number(value: float, digits: int = 0) -> str:
    """Return a number as text, with a proper minus sign."""
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def interval(estimate: Estimate, factor: float = 1.0) -> str:
    """Return an interval as text, "33 to 34", or a dash if it is unknown."""
    if not isfinite(estimate.low):
        return "\N{EN DASH}"
    return f"{number(factor * estimate.low)} to {number(factor * estimate.high)}"


def facts_of(transport: str, known: Known) -> TransportFacts | None:
    """Return what is known of a transport, given by its name with or without parameters."""
    return known.get(transport.partition(" ")[0])


def with_apps(transport: str, known: Known) -> str:
    """Return a transport's name with apps that have it: "hysteria2 (v2rayNG, Hiddify, …)"."""
    if transport == DIRECT:
        return "direct calls"
    facts = facts_of(transport, known)
    if facts is not None and not facts.for_people:
        return f"{transport} (a method, no program)"
    if facts is None or not facts.apps:
        return transport
    apps = [app for app in facts.apps if app.lower() != transport.lower()]
    more = ["…"] if len(apps) > _APPS else []
    return f"{transport} ({', '.join([*apps[:_APPS], *more])})" if apps else transport


def ways(transports: Sequence[str], known: Known) -> str:
    """Return transports as part of a sentence: "direct calls, and calls through obfs4 (…)"."""
    through = [with_apps(name, known) for name in transports if name != DIRECT]
    said = ["direct calls"] if DIRECT in transports else []
    said += [f"calls through {few(through)}"] if through else []
    return ", and ".join(said)


def usable_of(usable: int, calls: int) -> str:
    """Return a count with its certainty: "5 of 5 calls usable (95 % interval: 57 to 100 %)"."""
    estimate = share(usable, calls)
    return (
        f"{usable or 'none'} of {calls} calls usable "
        f"({CONFIDENCE:.0%} interval: {interval(estimate, 100)}%)"
    )


def needs(transports: Sequence[str], known: Known) -> list[str]:
    """Return sentences on what transports need, and at which end; of many, for the first ones."""
    kinds = dict.fromkeys(name.partition(" ")[0] for name in transports if name != DIRECT)
    if not kinds:
        return []
    facts = {kind: known.get(kind) for kind in list(kinds)[:_FEW]}
    by_need: dict[str, list[str]] = {}
    for kind, one in facts.items():
        by_need.setdefault("not recorded" if one is None else one.needs, []).append(kind)
    needs_said = [f"{listed(names)}: {need}" for need, names in by_need.items()]
    lines = [f"Needed at the far end: {'; '.join(needs_said)}."]
    both = [kind for kind, one in facts.items() if one is not None and one.ends == "both"]
    if both:
        lines.append(f"Both ends of the call must use {listed(both)}.")
    if len(both) < len(facts):
        lines.append(
            "The other party needs nothing, unless their own line is restricted: then both ends "
            "must use one."
        )
    return lines


@dataclass(frozen=True)
class Ranked:
    """A transport under a set of censors, any of which may be the real one."""

    transport: str
    usable: Estimate
    """The share of usable calls, with one call under each censor."""
    is_best: bool
    """Whether it cannot be told from the best one."""


def ranking(
    ranked: Sequence[Ranked], known: Known, *, scope: str, warning: str, unknown: Sequence[str]
) -> list[str]:
    """Return the answer of a ranking over several possible censors, the best first.

    Transports that cannot be told from the best one are named together, as a tie. `scope` says for
    what the censors stand; `warning` is why no tool may be named, or empty; `unknown` are sentences
    on what the ranking cannot tell.
    """
    if warning:
        return [warning]
    best = sorted((one for one in ranked if one.is_best), key=lambda one: -one.usable.value)
    tie = ", which cannot be told apart" if len(best) > 1 else ""
    lines = [f"In the lab, under {scope}, calls were usable most often through these{tie}:"]
    for one in best:
        calls = one.usable.n
        fails = calls - round(one.usable.value * calls)
        under = f"under {fails} of {calls} censors they fail" if fails else "under none they fail"
        text = f"{with_apps(one.transport, known)}: {usable_of(calls - fails, calls)}; {under}."
        lines.append(capital(text) if one.transport == DIRECT else text)
    lines += needs([one.transport for one in best], known)
    return lines + [f"Unknown: {sentence}" for sentence in unknown]
