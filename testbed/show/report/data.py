"""The data that a page's script shows of each call, compact and for people; no HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from testbed.analysis.comparison import Comparison
from testbed.analysis.costs import Cost
from testbed.record.results import CellResult, Run
from testbed.show.comparison_tables import MEASURE_WORDS, effect_text, rank_text
from testbed.show.figures.words import tied
from testbed.show.report.answer import interval, number, restriction, usable_text
from testbed.show.report.calls import (
    EVENTS,
    SIDES,
    Kind,
    dropped_by_rule,
    events_of,
    lost_by_second,
)
from testbed.show.report.sounds import Sounds

DIRECTION_HEADS = ("verdict", "lost", "longest gap", "delay", "95 % of delay", "R")
"""What a row of `directions` has after who hears it."""


class Words:
    """Texts that occur often, each once; what refers to one is its index."""

    def __init__(self) -> None:
        self.texts: dict[str, int] = {}

    def index(self, text: str) -> int:
        """Give the index of a text, which is added if it is new."""
        return self.texts.setdefault(text, len(self.texts))


def data_of(run: Run, kinds: Sequence[Kind], sounds: Sounds) -> dict[str, Any]:
    """Give what the script needs, by a kind's name; texts and sounds that repeat are shared."""
    words = Words()
    compared = [kind.comparison for kind in kinds]
    found = {kind.name: _kind(run, kind, compared, sounds, words) for kind in kinds}
    return {
        "kinds": found,
        "words": list(words.texts),
        "sounds": sounds.encoded,
        "seconds": sounds.seconds,
        "sides": SIDES,
        "heads": DIRECTION_HEADS,
    }


def facts_of(kind: Kind, compared: Sequence[Comparison]) -> list[tuple[str, str]]:
    """Say what the calls of a kind add up to: what, and how much."""
    c = kind.comparison
    facts = [
        ("Calls", f"{c.calls}: " + ", ".join(f"{n} {v}" for v, n in c.verdicts.items())),
        ("Usable or good", usable_text(c)),
        ("Over direct calls", _effect(c)),
        ("R, median", f"{number(c.rating.value)} ({interval(c.rating)})"),
        ("Rank by R", rank_text(c, compared).replace("=", ", a tie")),
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
    if cost is None or kind.key[1] == "direct":
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


def _kind(
    run: Run, kind: Kind, compared: Sequence[Comparison], sounds: Sounds, words: Words
) -> dict[str, Any]:
    excerpt = sounds.excerpts.get(kind.name)
    return {
        "title": [words.index(p) for p in (*kind.key[:2], restriction(kind.key[2]))],
        "facts": [
            [words.index(what), words.index(text)] for what, text in facts_of(kind, compared)
        ],
        "cells": [_cell(run, cell, words) for cell in kind.cells],
        **({"sound": asdict(excerpt)} if excerpt else {}),
    }


def _cell(run: Run, cell: CellResult, words: Words) -> dict[str, Any]:
    content = cell.content
    quality, call = content["quality"], content["record"]["call"]
    events = events_of(cell)
    return {
        "seed": content["seed"],
        "verdict": words.index(quality["verdict"]),
        "why": [words.index(tied(reason)) for reason in quality["reasons"]],
        "like": [words.index(symptom) for symptom in cell.symptoms],
        "setUp": None if call["set_up_s"] is None else round(call["set_up_s"], 2),
        "ended": round(call["ended_s"], 1),
        "directions": {
            side: [words.index(text) for text in _direction(quality[side])]
            for side in cell.directions
        },
        "lost": {
            side: [first, [round(100 * share) for share in shares]]
            for side, (first, shares) in lost_by_second(run, cell).items()
        },
        "answers": words.index(_answers(content)),
        "chat": words.index(_chat(content["chat"])),
        "traffic": words.index(_traffic(content.get("traffic", {}))),
        "rules": [
            words.index(f"{name}: {matched} packets, {dropped} of them dropped")
            for name, (matched, dropped) in dropped_by_rule(cell).items()
        ],
        "events": [
            [at, words.index(flow), words.index(what)] for at, flow, what in events[:EVENTS]
        ],
        "more": max(len(events) - EVENTS, 0),
    }


def _direction(direction: Mapping[str, Any]) -> list[str]:
    return [
        direction["verdict"],
        tied(f"{100 * direction['concealed_share']:.1f}%"),
        tied(f"{direction['longest_gap_s']:.2f} s"),
        _ms(direction["mouth_to_ear_median_s"]),
        _ms(direction["mouth_to_ear_p95_s"]),
        number(direction["r_fullband_100"]),
    ]


def _traffic(traffic: Mapping[str, Any]) -> str:
    """Say what became of the other traffic beside a call."""
    told = [
        f"{kind} {_ms(one['took_s']) if one['done'] else 'not done'}"
        for kind, one in traffic.items()
    ]
    return ", ".join(told) or "none"


def _answers(content: Mapping[str, Any]) -> str:
    """Say how long the ends waited for each other's words."""
    waits = content.get("conversation", {}).get("response_s", {})
    told = [f"{end} {_ms(wait)}" for end, wait in waits.items() if wait is not None]
    return ", ".join(told) or "\N{EN DASH}"


def _chat(chat: Mapping[str, Any]) -> str:
    took = "" if chat["median_s"] is None else f", median {_ms(chat['median_s'])}"
    return f"{chat['delivered']} of {chat['sent']} messages delivered{took}"


def _ms(seconds: float | None) -> str:
    return "\N{EN DASH}" if seconds is None else tied(f"{1000 * seconds:.0f} ms")
