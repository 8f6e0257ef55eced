"""What a report is made of: sounds within their budget, figures inline, old records, words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st

from testbed.analysis.comparison import compare
from testbed.call.quality.measures import Step
from testbed.call.quality.verdict import Verdict
from testbed.record.results import Run
from testbed.show.report import sounds
from testbed.show.report.answer import answer, restriction
from testbed.show.report.calls import kinds_of, lost_by_second
from testbed.show.report.drawings import inline
from testbed.show.report.sounds import SHORTEST_S, seconds_for, sounds_of, words_from
from tests.analysis.test_comparison import two_transports
from tests.records import record, write_run


def test_losses_are_given_for_each_second_since_dialling() -> None:
    call = record(steps=[Step(2.0, 0.25, 60.0), Step(3.0, 0.5, 40.0)])
    assert lost_by_second(call) == {"up": (2, [0.25, 0.5]), "down": (2, [0.25, 0.5])}
    assert lost_by_second(record(r=None)) == {}


@given(st.integers(1, 5000))
def test_sounds_are_as_long_as_all_of_them_may_be(count: int) -> None:
    seconds = seconds_for(count)
    assert SHORTEST_S <= seconds <= sounds.LONGEST_S
    if seconds > SHORTEST_S:
        assert count * seconds * sounds.BYTES_PER_S <= sounds.SOUND_BUDGET_BYTES


@pytest.mark.slow
def test_sounds_that_have_no_room_are_the_best_ones(
    small_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sounds, "SOUND_BUDGET_BYTES", 40_000)
    found = sounds_of(small_run, kinds_of(small_run, small_run.cells()), lambda _: None)
    assert sum(map(len, found.encoded)) <= 40_000
    assert list(found.excerpts) == ["whatsapp--direct--ru-calls-2025-08"]
    assert len(found.left_out) == 2


def test_what_is_heard_is_like_the_whole_call() -> None:
    assert words_from([[0, 0, 0.3, 0.3, 0.1, 0.2]], 2) == 4
    assert words_from([[0.1] * 6, [0.2] * 6], 2) == 0
    assert words_from([[0.5]], 2) == 0
    assert words_from([], 2) == 0


def test_a_figure_s_ids_are_its_own_within_a_page() -> None:
    figure = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        ' width="9pt" viewBox="0 0 9 9"><metadata>x</metadata><defs><path id="a"/></defs>'
        '<use xlink:href="#a" style="fill: url(#h)"/><g clip-path="url(#h)"/></svg>'
    )
    page = BeautifulSoup(inline(figure, "one", "title"), "html.parser")
    svg, path, use, group = page.select("svg, path, use, g")
    assert not page.select("metadata")
    assert not svg.get("width")
    assert svg["aria-labelledby"] == "title"
    assert path["id"] == "one-a"
    assert use["href"] == "#one-a"
    assert use["style"] == "fill: url(#one-h)"
    assert group["clip-path"] == "url(#one-h)"


def test_no_restriction_is_none_over_any_links() -> None:
    assert restriction("open") == "no restriction"
    assert restriction("open over 4g") == "no restriction over 4g"
    assert restriction("open-ended over 4g") == "open-ended over 4g"


def test_ties_are_said_as_ties(tmp_path: Path) -> None:
    calls = two_transports()
    twins = [replace(call, transport="tuic") for call in calls if call.transport != "direct"]
    run = write_run(tmp_path / "run", [*calls, *twins])
    said = answer(compare(run.cells()), run.manifest())
    notes = [note for s in said.by_censor["ru-calls-2025-08"] for note in s.notes]
    assert any("the first rank is shared by obfs4 and tuic" in note for note in notes)


def summary_of(folder: Path, verdicts: Mapping[tuple[str, str], Verdict]) -> str:
    """What a report says first of calls through ways under censors."""
    calls = [
        record(transport, censor, verdict=verdict)
        for (transport, censor), verdict in verdicts.items()
    ]
    run = write_run(folder / "run", calls)
    said = answer(compare(run.cells()), run.manifest()).summary
    return " ".join(said).replace("\N{NO-BREAK SPACE}", " ")


def test_transports_tried_under_some_restrictions_are_compared_with_direct_calls_there(
    tmp_path: Path,
) -> None:
    direct = {("direct", f"one side={n}"): Verdict.UNUSABLE for n in range(3)}
    said = summary_of(tmp_path, {**direct, ("obfs4", "one side=1"): Verdict.GOOD})
    assert "Direct calls kept every call usable in none of 3 restrictions." in said
    assert (
        "Calls through obfs4, tried in 1 of the 3, kept every call usable in 1 of 1; direct calls "
        "did so in 0 of 1 of these." in said
    )
    assert "most" not in said
    assert "No transport kept" not in said


def test_a_single_transport_is_not_ranked_and_named_once(tmp_path: Path) -> None:
    said = summary_of(tmp_path, {("direct", "a"): Verdict.GOOD, ("direct", "b"): Verdict.UNUSABLE})
    assert said.count("irect calls") == 1
    assert said.startswith("Direct calls kept every call usable in 1 of 2 restrictions. These")


def test_a_single_call_has_no_range(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [record(), record("obfs4", r=80.0)])
    first = answer(compare(run.cells()), run.manifest()).cautions[0]
    assert "With a single call there is no range of R" in first
    assert "at most" not in first


def test_ways_tried_everywhere_are_ranked(tmp_path: Path) -> None:
    verdicts = {
        ("direct", "a"): Verdict.GOOD, ("direct", "b"): Verdict.UNUSABLE,
        ("obfs4", "a"): Verdict.POOR, ("obfs4", "b"): Verdict.POOR,
    }  # fmt: skip
    said = summary_of(tmp_path, verdicts)
    assert "Direct calls kept every call usable in most: 1 of 2 restrictions. Then calls" in said
    assert "None of them kept every call usable under every restriction." in said
