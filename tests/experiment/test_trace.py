"""Traces of mobile links: which files are traces, and what the models generate."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.censor.packet import Direction
from testbed.evidence import Evidence
from testbed.experiment.explanations import ScenarioError
from testbed.experiment.link import Link, Links, Override
from testbed.experiment.scenario import LINK_FILES, load_links
from testbed.experiment.toml_files import stems
from testbed.experiment.trace import Trace, parse_trace
from testbed.experiment.trace_files import courses_of, sealed
from testbed.experiment.trace_model import TraceModel, WanderingRate

times = st.lists(st.integers(0, 5000), min_size=1).map(sorted).filter(lambda found: found[-1] > 0)
ASSUMED = Evidence("a test", "assumed")
KEYS = ("mean_mbps", "wander_pps", "returns_s", "outage_every_s", "outage_s")


@given(times, st.booleans())
def test_each_line_of_a_file_is_an_opportunity(found: list[int], ends: bool) -> None:
    text = "\n".join(map(str, found)) + "\n" * ends
    course = parse_trace(text)
    assert list(course.times_ms) == found
    assert course.length_ms == found[-1]


@given(times, st.integers(0, 20_000), st.integers(1, 50))
def test_a_trace_that_is_repeated_begins_again_at_its_last_time(
    found: list[int], at_ms: int, more: int
) -> None:
    course = parse_trace("\n".join(map(str, found)))
    rounds = (at_ms + more) // found[-1] + more + 2
    repeated = [number * found[-1] + each for number in range(rounds) for each in found]
    behind = course.number_after(at_ms)
    assert [course.time_ms(n) for n in range(len(repeated))] == repeated
    # What is at the very end of a round also is at the beginning of the next one.
    assert all(each <= at_ms for each in repeated[:behind])
    assert all(each > at_ms or each % found[-1] == 0 for each in repeated[behind:])


@given(st.text(alphabet="0123456789 \n\t.-+_ex٣", max_size=30))
def test_any_other_text_is_refused_in_one_sentence(text: str) -> None:
    lines = text.removesuffix("\n").split("\n")
    if all(line.isascii() and line.isdecimal() for line in lines):
        return  # a trace, or one whose times are wrong
    with pytest.raises(ValueError, match=r"^line \d+ is [^\n]*, expected a time in whole"):
        parse_trace(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1 is ''"),
        ("5\n\n7\n", "line 2 is ''"),
        ("5\n6.5\n", "line 2 is '6.5', expected a time in whole milliseconds"),
        ("5\n4\n", "line 2 is 4, which is before 5, the line above"),
        ("0\n0\n", "a trace must last for more than 0 ms"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.up"
    path.write_text(text)
    with pytest.raises(ScenarioError, match=said):
        courses_of([Link(up=Override(trace=Trace(str(path))))], LINK_FILES.models)


def test_a_pair_of_files_is_named_without_their_ends(tmp_path: Path) -> None:
    for end, text in (("up", "10\n"), ("down", "2\n4\n")):
        (tmp_path / f"walk.{end}").write_text(text)
    trace = Trace(str(tmp_path / "walk"))
    found = courses_of([Link(trace=trace)], LINK_FILES.models)
    assert list(found[trace, Direction.UP].times_ms) == [10]
    assert list(found[trace, Direction.DOWN].times_ms) == [2, 4]


def test_what_a_run_records_of_a_trace_changes_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "mine"
    links = Links("a test", Link(down=Override(trace=Trace(str(path)))))
    known = []
    for text in ("10\n", "20\n", "10\n"):
        path.write_text(text)
        known.append(sealed(links, LINK_FILES.models))
    assert known[0] == known[2] != known[1]
    with pytest.raises(ScenarioError, match="its hash is"):
        courses_of([known[1].access], LINK_FILES.models)


def test_links_without_a_trace_stay_as_they_are() -> None:
    links = Links("a test", Link(delay_ms=3, up=Override(rate_mbps=1)), backbone=Link(loss=0.1))
    assert sealed(links, LINK_FILES.models) == links


def test_a_trace_that_does_not_exist_is_named_with_where_it_was_sought() -> None:
    with pytest.raises(ScenarioError, match=r"no trace 'nowhere'; looked for .*nowhere\.toml"):
        courses_of([Link(trace=Trace("nowhere"))], LINK_FILES.models)


def test_an_offset_behind_the_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("1500\n")
    trace = Trace(str(tmp_path / "mine"), offset_s=2)
    with pytest.raises(ScenarioError, match=r"offset_s = 2 is behind its end at 1\.5 s"):
        courses_of([Link(trace=trace)], LINK_FILES.models)


def test_a_link_has_a_rate_or_a_trace() -> None:
    with pytest.raises(ValueError, match="a trace is the rate"):
        Link(rate_mbps=3, trace=Trace("lte-driving"))


def test_a_link_set_follows_a_trace(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'title = "mine"\naccess = { delay_ms = 20, trace = { file = "lte-driving" } }\n'
        '[evidence]\naccess = { source = "a test", confidence = "assumed" }\n'
    )
    access = load_links(str(path)).access
    up, down = (access.direction(each).trace for each in Direction)
    assert up is not None
    assert up == down
    assert (up.file, len(up.sha256)) == ("lte-driving", 64)


@pytest.mark.parametrize("name", stems(LINK_FILES.models))
def test_a_model_has_the_rate_that_it_names_and_pauses_like_its_outages(name: str) -> None:
    model = LINK_FILES.trace_model(name)
    for direction in Direction:
        rate = model.up if direction is Direction.UP else model.down
        course = model.course(direction)
        assert course == model.course(direction)
        assert course.length_ms == model.length_s * 1000
        works = 1 - rate.outage_s / (rate.outage_every_s + rate.outage_s)
        assert course.mean_mbps == pytest.approx(rate.mean_mbps * works, rel=0.15)
        seconds = Counter(each // 1000 for each in course.times_ms)
        rates = [seconds[number] for number in range(int(model.length_s))]
        mean = sum(rates) / len(rates)
        spread = (sum((each - mean) ** 2 for each in rates) / len(rates)) ** 0.5
        assert 0.25 < spread / mean < 0.75


def test_a_rate_that_does_not_wander_is_a_poisson_process() -> None:
    rate = WanderingRate(mean_mbps=1.2032, wander_pps=0, returns_s=1)  # 100 a second
    evidence = dict.fromkeys(KEYS[:3], ASSUMED)
    times_ms = TraceModel("a test", rate, rate, evidence).course(Direction.UP).times_ms
    counts = Counter(each // 100 for each in times_ms)
    of_steps = [counts[number] for number in range(6000)]
    mean = sum(of_steps) / 6000
    assert mean == pytest.approx(10, abs=0.15)
    # A Poisson distribution's variance is its mean; over 6000 steps it is within 6 %.
    assert sum((each - mean) ** 2 for each in of_steps) / 6000 == pytest.approx(mean, rel=0.06)


@pytest.mark.parametrize("key", KEYS)
def test_a_number_of_a_model_without_a_source_is_refused(key: str) -> None:
    rate = WanderingRate(1, 10, 1, 30, 0.2)
    evidence = {name: ASSUMED for name in KEYS if name != key}
    with pytest.raises(ValueError, match=key):
        TraceModel("a test", rate, rate, evidence)
