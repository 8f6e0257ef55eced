from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.call.quality.verdict import Verdict
from testbed.record.cell_record import CellRecord
from testbed.record.manifest import KernelBuild, ScenarioTitle
from testbed.show.drawing import words
from testbed.show.drawing.tally import Tally, tally
from tests.figures.conftest import MANIFEST, SCENARIO, awkward, call, demo, sweep
from tests.records import RUSSIA, recorded


def tallies_of(cells: list[CellRecord]) -> list[Tally]:
    return tally(map(recorded, cells), ())


def labels_of(cells: list[CellRecord]) -> list[str]:
    tallies = tallies_of(cells)
    labels = words.label(tallies)
    return [labels.of(t).replace("\xa0", " ") for t in tallies]


def test_the_founding_case_in_words_of_a_newspaper() -> None:
    expected = ["no restriction, direct", "restricted, through obfs4", "restricted, direct"]
    *restricted, first, second, third = labels_of(demo())
    assert restricted == expected * 2
    assert {first, second, third} == set(expected)  # MAX, whose calls are alike
    assert RUSSIA in words.label(tallies_of(demo())).restriction


def test_a_sweep_is_labelled_by_its_value_and_says_once_what_all_share() -> None:
    assert labels_of(sweep())[:3] == ["drop = 0.02", "drop = 0.05", "drop = 0.1"]
    note = words.label(tallies_of(sweep())).restriction
    assert note == f"Restriction: censor profile {RUSSIA}. All calls direct."


def test_topologies_under_one_restriction_are_labelled_by_themselves() -> None:
    sides = ("one-sided", "both-sides")
    tallies = tallies_of(
        [call("WhatsApp", "direct", f"{RUSSIA} {s}", 1, Verdict.GOOD) for s in sides]
    )
    labels = words.label(tallies)
    assert [labels.of(t) for t in tallies] == ["both-sides, direct", "one-sided, direct"]
    assert labels.restriction == f"Restriction: censor profile {RUSSIA}."


def test_several_restrictions_are_named() -> None:
    labels = labels_of(awkward())
    assert len(set(labels)) == len(labels)
    assert any(label.startswith("ir-2022-mobile-shutdown") for label in labels)


def test_one_cell_is_labelled_in_full() -> None:
    assert labels_of(demo()[5:6]) == ["restricted, direct"]


@pytest.mark.parametrize(
    ("scenario", "expected"),
    [
        (SCENARIO, "Under the restriction, which transport keeps a call usable?"),
        (ScenarioTitle("s", "Calls", ""), "Calls"),
        (ScenarioTitle("s", "", ""), "Which calls stay usable, by messenger and transport?"),
    ],
)
def test_the_title_is_the_best_that_is_known(scenario: ScenarioTitle, expected: str) -> None:
    assert words.question(replace(MANIFEST, scenario=scenario)) == expected


def test_provenance_says_what_is_known_and_what_is_not() -> None:
    results = [recorded(call("MAX", "direct", "open", seed, Verdict.GOOD)) for seed in (1, 2, 3)]
    full = words.provenance(MANIFEST, results, "n = 3 calls per bar").replace("\xa0", " ")
    for part in (RUSSIA, "n = 3", "30 s", "seeds 1–3", "models", "virtual time"):
        assert part in full
    on_host = replace(MANIFEST, kernel=KernelBuild("host", "6.1"))
    bare = words.provenance(on_host, [], "n = 0 calls per bar")
    assert "not repeatable" in bare
    assert "seed" not in bare


def test_seeds_are_named_shortly() -> None:
    assert words.seeds([7]) == "seed 7"
    assert words.seeds([3, 1, 2, 2]) == "seeds 1–3"
    assert words.seeds([1, 4]) == "seeds 1, 4"
    assert words.seeds(range(0, 40, 2)) == "20 seeds"


@given(st.integers(0, 500), st.integers(1, 500))
def test_only_all_is_100_percent_and_only_nothing_0(part: int, whole: int) -> None:
    part = min(part, whole)
    text = words.percent(part / whole).replace("\xa0", " ")
    assert (text == "100 %") == (part == whole)
    assert (text == "0 %") == (part == 0)


def test_unaffected_is_said_only_of_whom_it_is_true() -> None:
    by_title: dict[str, list[Tally]] = {}
    for t in tallies_of(demo()):
        by_title.setdefault(t.key.messenger, []).append(t)
    said = {title: words.unaffected(group) for title, group in by_title.items()}
    assert said == {"Telegram (model)": False, "WhatsApp (model)": False, "MAX (model)": True}
    assert not words.unaffected(tallies_of(sweep()))


def test_good_that_becomes_usable_is_a_difference() -> None:
    facts = [
        ("Telegram", "direct", c, 1, v)
        for c, v in (("open", Verdict.GOOD), ("loss-10", Verdict.USABLE))
    ]
    assert not words.unaffected(tallies_of([call(*fact) for fact in facts]))


def test_what_is_taken_together_is_named_or_counted() -> None:
    sides = [f"{RUSSIA} {side}" for side in ("one-sided", "both-sides")]
    assert words.together(sides) == f"Censor profile {RUSSIA}, pooled over: one-sided, both-sides."
    losses = [f"loss-5 loss={n}" for n in range(10)]
    assert words.together(losses) == "Pooled over all 10 settings of censor profile loss-5."
    assert words.together(["open", *sides]) == "Pooled over all 3 censors of the run."


def test_one_call_has_no_range() -> None:
    assert "single" in words.of_medians(1)
    assert "75" in words.of_medians(3)


def test_the_definition_has_the_thresholds_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "R ≥ 60" in words.definition().replace("\xa0", " ")
    monkeypatch.setattr("testbed.call.quality.verdict.USABLE_R", 61.0)
    assert "R ≥ 61" in words.definition().replace("\xa0", " ")
