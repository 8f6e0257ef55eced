"""What a report is made of: sounds within their budget, figures inline, old records, words."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st

from testbed.call.quality.measures import Step
from testbed.record.manifest import ScenarioTitle
from testbed.record.results import Run
from testbed.show.report import sounds
from testbed.show.report.calls import kinds_of, lost_by_second
from testbed.show.report.drawings import inline
from testbed.show.report.origins import commands
from testbed.show.report.sounds import SHORTEST_S, seconds_for, sounds_of, words_from
from tests.records import id_of, manifest, record, write_run


def test_the_run_of_an_own_scenario_is_repeated_by_its_text_and_quoted(tmp_path: Path) -> None:
    own = ScenarioTitle("my calls", "t", "q")
    calls = [record("fec {inner = tuic}", seed=1)]
    about = replace(manifest([id_of(one) for one in calls]), scenario=own)
    run = write_run(tmp_path / "my run", calls, about=about)
    (run.folder / "scenario.toml").write_text('transports = ["direct", "fec {inner = tuic}"]')
    first, second, _ = commands(run, run.cells())
    path = shlex.quote(str(run.folder / "scenario.toml"))
    assert first == (
        f"./lab run {path} --transport 'fec {{inner = tuic}}' --out 'results/my calls-again'"
    )
    assert second == "./lab report 'results/my calls-again'"


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
def test_sounds_that_have_no_room_are_the_best_ones(small_run: Run) -> None:
    kinds = kinds_of(small_run, small_run.cells())
    found = sounds_of(small_run, kinds, lambda _: None, 40_000)
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
