"""Write tables for papers, in Markdown and LaTeX, of how a run's calls compare."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from testbed.analysis.comparison import Comparison
from testbed.analysis.statistics import CONFIDENCE, coverage_limit
from testbed.record.left_files import printable
from testbed.record.manifest import Manifest
from testbed.show.comparison_tables import MEASURE_WORDS, effect_text, interval_text, rank_text

_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip
_ODD_IN_LABELS = re.compile(r"[^A-Za-z0-9-]+")
_HEADS = (
    "Messenger", "Transport", "Censor", "n", "usable, %", "95 %", "over direct", "R", "R from-to",
    "set-up, s", "lost, %", "delay, ms", "rank",
)  # fmt: skip
_WORDS = 3
"""The number of leading columns that hold words and are left-aligned."""


def markdown(compared: Sequence[Comparison], manifest: Manifest) -> str:
    """Return a comparison as a Markdown table (GitHub's, which pandoc reads) with its note."""
    lines = [_piped(_HEADS), _piped(["---"] * _WORDS + ["---:"] * (len(_HEADS) - _WORDS))]
    lines += [
        _piped(_one_line(cell).replace("|", r"\|") for cell in row) for row in _rows(compared)
    ]
    return "\n".join((*lines, "", note(compared, manifest), ""))


def latex(compared: Sequence[Comparison], manifest: Manifest) -> str:
    """Return a comparison as a LaTeX table float, which needs the package booktabs."""
    body = [_joined(map(escaped, row)) for row in _rows(compared)]
    name = manifest.scenario.name
    lines = [
        r"\begin{table}",
        r"\centering\footnotesize",
        rf"\caption{{{escaped(note(compared, manifest))}}}",
        rf"\label{{tab:{_ODD_IN_LABELS.sub('-', name)}}}",
        rf"\begin{{tabular}}{{{'l' * _WORDS}{'r' * (len(_HEADS) - _WORDS)}}}",
        r"\toprule",
        _joined(map(escaped, _HEADS)),
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


FORMATS: Mapping[str, Callable[[Sequence[Comparison], Manifest], str]] = {
    "markdown": markdown,
    "latex": latex,
}


def note(compared: Sequence[Comparison], manifest: Manifest) -> str:
    """Return the note under a table: scenario, version, clock, n, and what the columns mean."""
    scenario = manifest.scenario
    counts = sorted({c.calls for c in compared})
    n = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    sure = coverage_limit(counts[0])
    range_of = (
        f" (for n = {counts[0]}, with a coverage of at most {sure:.0%})"
        if sure < CONFIDENCE
        else ""
    )
    return (
        f"{scenario.title} (scenario {scenario.name}, testbed "
        f"{manifest.versions['testbed']}, {manifest.kernel.clock}); "
        f"n = {n} calls per row. "
        "Usable: share of calls that were usable or good, with Wilson's 95 % interval; over "
        "direct: percentage points more than direct calls of the same seeds, * if Newcombe's "
        "interval excludes 0. R: median of the worse direction on the fullband E-model's scale "
        "divided by 1.48, with EVS as proxy for Opus, 0 without a call, and its bootstrap interval"
        f"{range_of}. Set-up, lost, delay (mouth to ear): medians over the calls that were set up. "
        "Rank: by R, within messenger and censor; = where intervals overlap."
    )


def escaped(text: str) -> str:
    """Return text as one line for LaTeX, with its special characters escaped."""
    return "".join(_SPECIAL.get(character, character) for character in _one_line(text))


def _one_line(text: str) -> str:
    return printable(" ".join(text.split()))


def _rows(compared: Sequence[Comparison]) -> list[list[str]]:
    return [
        [
            *c.key,
            str(c.calls),
            f"{100 * c.usable.value:.0f}",
            interval_text(c.usable, 100),
            effect_text(c.usable_effect).strip(),
            f"{c.rating.value:.0f}",
            interval_text(c.rating),
            *(_median(c, measure) for measure in ("set_up_s", "concealed_share", "mouth_to_ear_s")),
            rank_text(c, compared),
        ]
        for c in compared
    ]


def _median(c: Comparison, measure: str) -> str:
    _, factor, digits, _ = MEASURE_WORDS[measure]
    estimate = c.medians.get(measure)
    return "-" if estimate is None else f"{estimate.value * factor:.{digits}f}"


def _piped(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _joined(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"
