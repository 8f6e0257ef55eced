"""Assemble a run's report from the other modules, and render its template."""

from __future__ import annotations

import base64
import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib import resources
from statistics import fmean

import jinja2

from testbed.analysis.comparison import Comparison
from testbed.analysis.sweeps import limits
from testbed.analysis.transport_costs import Cost
from testbed.call.quality.symptoms import Symptom
from testbed.call.quality.verdict import Verdict
from testbed.experiment.transport_facts import transport_facts
from testbed.record.results import ResultsError, Run
from testbed.show.answer import answer
from testbed.show.answer.headline import is_open, restriction
from testbed.show.answer.wording import interval, number
from testbed.show.comparison_tables import effect_text, rank_text
from testbed.show.drawing import words
from testbed.show.drawing.style import VERDICT_FILLS
from testbed.show.drawing.tally import tally
from testbed.show.report import origins
from testbed.show.report.calls import Kind, kinds_of
from testbed.show.report.data import data_of
from testbed.show.report.drawings import drawings_of
from testbed.show.report.sounds import EXCERPT_BYTES, SOUND_BUDGET_BYTES, Sounds, sounds_of

_BYTES_PER_CALL = 10_000
"""A page with sound has at most this for each of its calls, and as much as for 100 calls if it has
fewer: 1 MB for 100 calls."""
_FEWEST = 100
_PLAYERS = 3
"""How many sounds of the page stand in it twice: those that are heard first need no script."""


@dataclass(frozen=True)
class Page:
    """A report as one HTML document."""

    html: str
    calls: int
    sounds: int
    """The number of kinds of calls that can be heard."""
    left_out: int
    """The number of kinds whose sound does not fit, or cannot be made."""


def page_of(run: Run, tell: Callable[[str], None], today: date, *, with_sound: bool = True) -> Page:
    """Return the report of a run; the same run yields the same text on the same day.

    `tell` is called at each step. `today` decides whether a censor's profile is too old to name
    tools under it.

    Raises:
        ResultsError: The run has no call.
        SpeechError: There is no speech on this machine to make the sound from.
    """
    cells = run.cells()
    if not cells:
        raise ResultsError(f"{run.folder} has no calls to report: run its scenario first")
    manifest, kinds = run.manifest(), kinds_of(run, cells)
    drawings = drawings_of(run, lambda name: tell(f"figure: {name}"))
    tell("page")
    tallies = tally(cells, run.failures())
    compared = [kind.comparison for kind in kinds]

    def rendered(sounds: Sounds) -> str:
        return _rendered(
            listen=_examples(kinds, sounds),
            sounds=sounds,
            data=asdict(data_of(kinds, sounds)),
            **context,
        )

    context: dict[str, object] = {
        "question": words.question(manifest),
        "provenance": words.provenance(manifest, cells, words.calls_per(tallies, "kind")),
        "definition": words.definition(),
        "symptoms": _symptoms(),
        "answer": answer(compared, limits(cells), manifest, transport_facts(), today),
        "matrix": _matrix(kinds),
        "fills": [_fill(verdict) for verdict in sorted(Verdict, reverse=True)],
        "drawings": drawings,
        "comparison": [_row(c, compared) for c in compared],
        "costs": [_cost_row(kind.cost) for kind in kinds if kind.cost],
        "failures": run.failures(),
        "broken": {c.key.transport: c.broken for c in compared if c.broken},
        "censors": origins.censors(manifest),
        "messengers": origins.messengers(manifest),
        "links": origins.links(manifest),
        "sureness": origins.SURENESS,
        "commands": origins.commands(run, cells),
        "versions": origins.versions(manifest),
        "digests": origins.digests(run),
        "manifest": manifest,
    }
    sounds = Sounds(0)
    if with_sound:
        budget_bytes = _sound_budget(len(cells), len(rendered(sounds).encode()))
        sounds = sounds_of(run, kinds, lambda name: tell(f"sound: {name}"), budget_bytes)
    html = rendered(sounds)
    return Page(html, len(cells), len(sounds.excerpts), len(sounds.left_out))


def _sound_budget(calls: int, silent_bytes: int) -> int:
    """Return how many bytes of sound a page may have that has so many without it."""
    room = _BYTES_PER_CALL * max(calls, _FEWEST) - silent_bytes - _PLAYERS * EXCERPT_BYTES
    return max(min(room, SOUND_BUDGET_BYTES), 0)


@dataclass(frozen=True)
class _Matrix:
    """Kinds by messenger and transport, against censors."""

    censors: Sequence[str]
    rows: Mapping[str, Mapping[str, Mapping[str, Kind]]]
    """By messenger, transport (the best first, over all censors), censor."""


def _matrix(kinds: Sequence[Kind]) -> _Matrix:
    rows: dict[str, dict[str, dict[str, Kind]]] = {}
    tried: defaultdict[str, list[float]] = defaultdict(list)
    for kind in kinds:
        tried[kind.key.transport].append(kind.comparison.usable.value)
    for kind in sorted(kinds, key=lambda kind: -fmean(tried[kind.key.transport])):
        messenger, transport, censor = kind.key
        rows.setdefault(messenger, {}).setdefault(transport, {})[censor] = kind
    messengers = dict.fromkeys(kind.key.messenger for kind in kinds)
    censors = list(dict.fromkeys(kind.key.censor for kind in kinds))
    return _Matrix(censors, {messenger: rows[messenger] for messenger in messengers})


def _examples(kinds: Sequence[Kind], sounds: Sounds) -> list[Kind]:
    """Choose what to hear first: a bad direct call, and the best other call under the same censor.

    Return the pair that differs most by R, or nothing if no such pair differs.
    """
    heard = [kind for kind in kinds if kind.name in sounds.excerpts]
    pairs = [
        (other.comparison.rating.value - direct.comparison.rating.value, direct, other)
        for direct in heard
        if direct.key.is_direct and not is_open(direct.key.censor)
        for other in heard
        if other.key.direct == direct.key
    ]
    if not pairs or (best := max(pairs, key=lambda pair: pair[0]))[0] <= 0:
        return []
    return [best[1], best[2]]


def _row(c: Comparison, compared: Sequence[Comparison]) -> list[str]:
    return [
        *c.key,
        str(c.calls),
        f"{c.usable.value:.0%}",
        interval(c.usable, 100),
        effect_text(c.usable_effect).strip(),
        number(c.rating.value),
        interval(c.rating),
        rank_text(c, compared),
    ]


def _cost_row(cost: Cost) -> list[str]:
    return [
        *cost.key,
        f"{cost.connect_s * 1e3:.0f} ms",
        f"{number(cost.added_delay_median_s * 1e3, 1)} ms",
        f"{number(cost.added_delay_95_s * 1e3, 1)} ms",
        f"{cost.held_up_share:.1%}",
        f"{cost.held_up_s * 1e3:.0f} ms" if cost.held_up_share else "",
        f"{cost.reconnections:.0f}",
        f"\N{MULTIPLICATION SIGN} {cost.bytes_factor:.2f}",
        f"\N{MULTIPLICATION SIGN} {cost.packets_factor:.2f}",
    ]


_HATCHES = {"////": "-45deg", "|||": "90deg", r"\\\\": "45deg"}
"""The directions of the figures' hatches."""


def _fill(verdict: Verdict) -> dict[str, str]:
    """Return a verdict's word, and the style sheet's version of its fill in the figures."""
    fill = VERDICT_FILLS[verdict]
    lines = (
        f" repeating-linear-gradient({_HATCHES[fill.hatch]}, transparent 0 5px, "
        f"{fill.hatch_colour} 5px 6px)"
        if fill.hatch
        else ""
    )
    return {
        "word": verdict.label,
        "slug": _slug(verdict),
        "colour": fill.colour,
        "background": fill.colour + lines,
        "ink": fill.ink,
    }


def _slug(verdict: Verdict) -> str:
    return verdict.label.replace(" ", "-")


def _symptoms() -> list[tuple[str, str]]:
    stated = {
        Symptom.NO_SET_UP: "it never rang, or was not connected within 30 s",
        Symptom.DROPPED: "a client ended it because no more packets arrived",
        Symptom.SILENT: "from the start, neither end was heard for 5 s or more",
        Symptom.WENT_SILENT: "later, neither end was heard for 5 s or more; times since dialling",
        Symptom.ONE_WAY_AUDIO: "only one end was heard for 5 s or more",
        Symptom.INTERMITTENT: "gaps of 60 ms and more, many or long",
        Symptom.METALLIC: "much of what was heard is concealment of short gaps",
        Symptom.LAGGY: "the median delay is above 400 ms",
    }
    return [(str(symptom), words.tied(stated[symptom])) for symptom in Symptom]


def _rendered(**context: object) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("testbed.show.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"slug": _slug, "restriction": restriction}
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    script = resources.files("testbed.show.report").joinpath("templates/page.js").read_text()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html").render(
        script=script, script_digest=digest, **context
    )
