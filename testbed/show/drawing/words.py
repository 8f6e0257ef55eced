"""Describe what a run compares, and how it was done, in words that a journalist understands."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from testbed.analysis.statistics import CONFIDENCE, coverage_limit
from testbed.analysis.sweeps import setting_of
from testbed.call.quality import verdict as v
from testbed.censor.stack import split_name
from testbed.record.cell_record import DIRECT, OPEN
from testbed.record.manifest import Manifest
from testbed.record.results import RecordedCell
from testbed.show.drawing.tally import Tally

_MODEL = "(model)"
_FEW = 3
"""Up to this many names are listed; more are counted."""
SWEPT_UNITS = {"rate_bps": (1e-3, " kbit/s"), "loss": (100.0, "%"), "drop": (100.0, "%")}
"""The factor to the unit in which people read a swept number, and that unit."""


@dataclass(frozen=True)
class Labels:
    """The labels of what a run compares, as short as that run allows."""

    censors: Mapping[str, str]
    """Each censor's label."""
    transports: Mapping[str, str]
    """Each transport's label; empty if all are the same, so that it need not be repeated."""
    restriction: str
    """A sentence on the restriction and on what holds for all rows, or empty."""

    def of(self, tally: Tally) -> str:
        """Return the label of one tally: "restricted, through obfs4"."""
        parts = (self.censors[tally.key.censor], self.transports[tally.key.transport])
        return tied(", ".join(part for part in parts if part))


def label(tallies: Sequence[Tally]) -> Labels:
    """Return the labels for a run's tallies."""
    censors = list(dict.fromkeys(t.key.censor for t in tallies))
    transports = list(dict.fromkeys(t.key.transport for t in tallies))
    restrictions = [name for name in censors if name != OPEN]
    names, profile = _censor_names(restrictions)
    transport_names = {name: DIRECT if name == DIRECT else f"through {name}" for name in transports}
    notes = [f"Restriction: censor profile {profile}."] if profile else []
    if len(transports) == 1 and len(censors) > 2:
        notes.append(f"All calls {transport_names[transports[0]]}.")
        transport_names = dict.fromkeys(transports, "")
    return Labels({OPEN: "no restriction", **names}, transport_names, " ".join(notes))


def _censor_names(restrictions: Sequence[str]) -> tuple[dict[str, str], str]:
    """Return the restrictions' labels, and the profile if the labels do not name it."""
    if len(restrictions) == 1:
        return {restrictions[0]: "restricted"}, restrictions[0]
    settings = {name: setting_of(name) for name in restrictions}
    swept = {name: setting for name, setting in settings.items() if setting is not None}
    profiles = {setting.profile for setting in swept.values()}
    if len(swept) == len(settings) and len(profiles) == 1:
        return {name: f"{s.what} = {s.value}" for name, s in swept.items()}, profiles.pop()
    parted = {name: split_name(name) for name in restrictions}
    if len({name for name, _ in parted.values()}) == 1 and all(v for _, v in parted.values()):
        varied = {name: variation for name, (_, variation) in parted.items()}
        return varied, next(iter(parted.values()))[0]
    return {name: name for name in restrictions}, ""


def together(censors: Sequence[str]) -> str:
    """Return a sentence on the censors over which calls are pooled."""
    if OPEN not in censors:
        names, profile = _censor_names(censors)
        if profile and len(censors) <= _FEW:
            return f"Censor profile {profile}, pooled over: {', '.join(names.values())}."
        if profile:
            return f"Pooled over all {len(censors)} settings of censor profile {profile}."
    return f"Pooled over all {len(censors)} censors of the run."


def question(manifest: Manifest) -> str:
    """Return a run's question: the scenario's question, its title, or a general one."""
    asked = manifest.scenario.question or manifest.scenario.title
    return asked or "Which calls stay usable, by messenger and transport?"


def provenance(manifest: Manifest, cells: Sequence[RecordedCell], calls: str) -> str:
    """Return the scenario, the number and length of calls, the seeds and the engine, in words."""
    name, title = manifest.scenario.name, manifest.scenario.title
    what = f"Scenario: {name}"
    if title and title != question(manifest):
        what = f"{title} (scenario {name})"
    facts = [what, calls]
    if cells:
        lengths = _span(sorted({cell.record.duration_s for cell in cells}))
        facts += [f"{lengths} s each", seeds(cell.record.seed for cell in cells)]
    modelled = bool(cells) and all(c.record.messenger_title.endswith(_MODEL) for c in cells)
    clock = manifest.kernel.clock
    facts.append(f"models of the messengers, {clock}" if modelled else clock)
    return tied(" · ".join(facts) + ".")


def calls_per_bar(tallies: Iterable[Tally]) -> str:
    """Return n in words: "n = 5 calls per bar"."""
    return calls_per(tallies, "bar")


def calls_per(tallies: Iterable[Tally], what: str) -> str:
    """Return n in words: "n = 5 calls per field"."""
    return n_per({t.calls for t in tallies}, what)


def n_per(counts: Iterable[int], what: str) -> str:
    """Return n in words, from the number of calls behind each mark: "n = 3–5 calls per point"."""
    span = _span(sorted(set(counts)))
    return f"n = {span} {'call' if span == '1' else 'calls'} per {what}"


def of_medians(n: int) -> str:
    """Return what the bars at medians of this many calls mean, and their confidence."""
    if n == 1:
        return "bars: the range of the calls, which a single call does not have"
    if (sure := coverage_limit(n)) >= CONFIDENCE:
        return "bars: 95 % intervals (bootstrap)"
    return (
        f"bars: the range of {n} calls; at most {sure:.0%} of such ranges contain the true median"
    )


def seeds(numbers: Iterable[int]) -> str:
    """Return the seeds in words: "seeds 1–5", or their number."""
    found = sorted(set(numbers))
    if len(found) == 1:
        return f"seed {found[0]}"
    if found[-1] - found[0] == len(found) - 1:
        return f"seeds {found[0]}–{found[-1]}"
    return f"seeds {', '.join(map(str, found))}" if len(found) <= 8 else f"{len(found)} seeds"


def definition() -> str:
    """Return one or two sentences on what the verdicts mean, with the thresholds in force."""
    return tied(
        f"Usable: connects within {v.SET_UP_PROMPT_S:g} s, at most "
        f"{v.INTERMITTENT_CONCEALED_SHARE:.0%} of the sound missing, no gap of "
        f"{v.DROPPING_GAP_S:g} s, delay up to {1000 * v.USABLE_DELAY_S:g} ms, "
        f"R ≥ {v.USABLE_R:g} (E-model). Good: at most {v.GOOD_CONCEALED_SHARE:.0%} missing, no gap "
        f"of {v.GOOD_GAP_S:g} s, {1000 * v.GOOD_DELAY_S:g} ms, R ≥ {v.GOOD_R:g}. Poor: as usable, "
        f"but within {v.SET_UP_LIMIT_S:g} s, any delay, R ≥ {v.UNUSABLE_R:g}. Unusable: worse, or "
        f"cut off. No call: none within {v.SET_UP_LIMIT_S:g} s. The worse direction counts."
    )


def tied(text: str) -> str:
    """Return text with no-break spaces between numbers and what belongs to them."""
    text = re.sub(r"(?<=\d)%", "\N{NO-BREAK SPACE}%", text)
    text = re.sub(r"(?<=\d) (?=(s|ms)\b)", "\N{NO-BREAK SPACE}", text)
    return re.sub(r"(\w) ([=≥]) (?=\d)", "\\1\N{NO-BREAK SPACE}\\2\N{NO-BREAK SPACE}", text)


def percent(share: float) -> str:
    """Return a share in percent, such that only all is 100 % and only nothing is 0 %."""
    if 0 < share < 0.01:
        return "< 1\N{NO-BREAK SPACE}%"
    return f"{int(100 * share + 1e-9)}\N{NO-BREAK SPACE}%"


def unaffected(tallies: Sequence[Tally]) -> bool:
    """Return whether one messenger's direct calls have the same verdicts under every restriction.

    A call that is usable where it would have been good is affected.
    """
    direct = {t.key.censor: t for t in tallies if t.key.is_direct}
    if len(direct) < 2 or OPEN not in direct or not direct[OPEN].usable:
        return False
    first, *others = (
        {verdict: Fraction(n, t.calls) for verdict, n in t.verdicts.items()}
        for t in direct.values()
    )
    return all(shares == first for shares in others)


def _span(values: Sequence[float]) -> str:
    low, high = f"{values[0]:g}", f"{values[-1]:g}"
    return low if low == high else f"{low}–{high}"
