"""Build the data that the page's script shows of each call.

Values are formatted for people. To keep the page small, each text occurs once (`Words`), and calls
refer to it by its index.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from testbed.analysis.comparison import Comparison
from testbed.analysis.transport_costs import Cost
from testbed.call.quality.verdict import DirectionQuality
from testbed.record.cell_record import CellRecord, ChatSummary, Conversation, TrafficSummary
from testbed.show.answer.headline import restriction
from testbed.show.answer.statements import usable_text
from testbed.show.answer.wording import interval, number
from testbed.show.comparison_tables import MEASURE_WORDS, effect_text, rank_text
from testbed.show.drawing.words import tied
from testbed.show.report.calls import (
    EVENTS,
    SIDES,
    Kind,
    dropped_by_rule,
    events_of,
    lost_by_second,
)
from testbed.show.report.sounds import Excerpt, Sounds
from testbed.show.report.story import story

DIRECTION_HEADS = ("verdict", "lost", "longest gap", "delay", "95 % of delay", "R")
"""The columns of `directions` after the one with the listener."""


class Words:
    """Texts without duplicates; each is referred to by its index."""

    def __init__(self) -> None:
        self.texts: dict[str, int] = {}

    def index(self, text: str) -> int:
        """Return the index of a text, and add it if it is new."""
        return self.texts.setdefault(text, len(self.texts))


@dataclass(frozen=True)
class CellData:
    """One call. Texts are indices into `PageData.words`; times are in seconds since dialling."""

    seed: int
    verdict: int
    story: int
    """What the middlebox recognised and did, and how the call went, in sentences."""
    why: list[int]
    like: list[int]
    set_up_s: float | None
    ended_s: float
    directions: dict[str, list[int]]
    """By direction: `DIRECTION_HEADS`."""
    lost: dict[str, tuple[int, list[int]]]
    """By direction: the first second, and the percentage lost in each."""
    answers: int
    chat: int
    traffic: int
    rules: list[int]
    events: list[tuple[float, int, int]]
    """Time, flow and event."""
    more: int
    """How many events are not listed."""


@dataclass(frozen=True)
class KindData:
    """Calls that differ only in their seed."""

    title: list[int]
    facts: list[tuple[int, int]]
    cells: list[CellData]
    sound: Excerpt | None


@dataclass(frozen=True)
class PageData:
    """All data of the page's script."""

    kinds: dict[str, KindData]
    words: list[str]
    sounds: list[str]
    seconds: int
    sides: dict[str, str]
    heads: tuple[str, ...]


def data_of(kinds: Sequence[Kind], sounds: Sounds) -> PageData:
    """Return the script's data; repeated texts and sounds are stored only once."""
    words = Words()
    compared = [kind.comparison for kind in kinds]
    found = {kind.name: _kind(kind, compared, sounds, words) for kind in kinds}
    return PageData(
        found, list(words.texts), sounds.encoded, sounds.seconds, SIDES, DIRECTION_HEADS
    )


def facts_of(kind: Kind, compared: Sequence[Comparison]) -> list[tuple[str, str]]:
    """Return the facts about a kind of calls, each with its heading and its value."""
    c = kind.comparison
    facts = [
        ("Calls", f"{c.calls}: " + ", ".join(f"{n} {v}" for v, n in c.verdicts.items())),
        ("Usable or good", usable_text(c)),
        ("Over direct calls", _effect(c)),
        ("R, median", f"{number(c.rating.value)} ({interval(c.rating)})"),
        ("Rank by R", rank_text(c, compared).replace("=", ", shared")),
    ]
    for name, (word, factor, digits, unit) in MEASURE_WORDS.items():
        if name != "r_fullband_100" and (estimate := c.medians.get(name)):
            text = f"{estimate.value * factor:.{digits}f}{unit}"
            facts.append((word.capitalize() + ", median", text))
    return [(what, tied(text)) for what, text in facts if text] + _costs(kind)


def _effect(c: Comparison) -> str:
    if c.usable_effect is None:
        return ""
    return f"{effect_text(c.usable_effect).strip(' *')} points ({interval(c.usable_effect, 100)})"


def _costs(kind: Kind) -> list[tuple[str, str]]:
    cost = kind.cost
    if cost is None or kind.key.is_direct:
        return []
    return [
        ("Connects in", tied(f"{cost.connect_s * 1e3:.0f} ms")),
        ("Added delay", tied(f"{number(cost.added_delay_median_s * 1e3, 1)} ms, median frame")),
        *_held_up(cost),
        ("Bytes sent", f"\N{MULTIPLICATION SIGN} {cost.bytes_factor:.2f}"),
        ("Packets sent", f"\N{MULTIPLICATION SIGN} {cost.packets_factor:.2f}"),
    ]


def _held_up(cost: Cost) -> list[tuple[str, str]]:
    if not cost.held_up_share:
        return []
    share, median_ms = cost.held_up_share, cost.held_up_s * 1e3
    return [("Held up", tied(f"{share:.1%} of frames, behind a lost one, for {median_ms:.0f} ms"))]


def _kind(kind: Kind, compared: Sequence[Comparison], sounds: Sounds, words: Words) -> KindData:
    return KindData(
        title=[words.index(p) for p in (*kind.key[:2], restriction(kind.key.censor))],
        facts=[(words.index(what), words.index(text)) for what, text in facts_of(kind, compared)],
        cells=[_cell(cell.record, words) for cell in kind.cells],
        sound=sounds.excerpts.get(kind.name),
    )


def _cell(record: CellRecord, words: Words) -> CellData:
    quality, call = record.quality, record.observation.call
    events = events_of(record)
    return CellData(
        seed=record.seed,
        verdict=words.index(quality.verdict.label),
        story=words.index(story(record)),
        why=[words.index(tied(reason)) for reason in quality.reasons],
        like=[words.index(symptom) for symptom in quality.symptoms],
        set_up_s=None if call.set_up_s is None else round(call.set_up_s, 2),
        ended_s=round(call.ended_s, 1),
        directions={
            side: [words.index(text) for text in _direction(direction)]
            for side, direction in record.directions.items()
        },
        lost={
            side: (first, [round(100 * share) for share in shares])
            for side, (first, shares) in lost_by_second(record).items()
        },
        answers=words.index(_answers(record.conversation)),
        chat=words.index(_chat(record.chat)),
        traffic=words.index(_traffic(record.traffic)),
        rules=[
            words.index(f"{name}: {matched} packets, {dropped} of them dropped")
            for name, (matched, dropped) in dropped_by_rule(record).items()
        ],
        events=[(at, words.index(flow), words.index(what)) for at, flow, what in events[:EVENTS]],
        more=max(len(events) - EVENTS, 0),
    )


def _direction(direction: DirectionQuality) -> list[str]:
    return [
        direction.verdict.label,
        tied(f"{100 * direction.concealed_share:.1f}%"),
        tied(f"{direction.longest_gap_s:.2f} s"),
        _ms(direction.mouth_to_ear_median_s),
        _ms(direction.mouth_to_ear_p95_s),
        number(direction.r_fullband_100),
    ]


def _traffic(traffic: Mapping[str, TrafficSummary]) -> str:
    """Return the outcome of the other traffic during a call, in words."""
    stated = [
        f"{kind} {_ms(one.took_s) if one.done else 'not done'}" for kind, one in traffic.items()
    ]
    return ", ".join(stated) or "none"


def _answers(conversation: Conversation) -> str:
    """Return how long each end waited for the other's answers, in words."""
    waits = conversation.response_s.items()
    stated = [f"{end} {_ms(wait)}" for end, wait in waits if wait is not None]
    return ", ".join(stated) or "\N{EN DASH}"


def _chat(chat: ChatSummary) -> str:
    took = "" if chat.median_s is None else f", median {_ms(chat.median_s)}"
    return f"{chat.delivered} of {chat.sent} messages delivered{took}"


def _ms(seconds: float | None) -> str:
    return "\N{EN DASH}" if seconds is None else tied(f"{1000 * seconds:.0f} ms")
