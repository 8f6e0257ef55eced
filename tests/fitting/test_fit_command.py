"""`testbed fit` on the command line: what it prints and writes, and what it never writes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from testbed.censor.actions.drop import Drop
from testbed.censor.match import Match
from testbed.censor.profile import Profile
from testbed.experiment.hypotheses import load_family
from testbed.experiment.reports import load_reports
from testbed.experiment.scenario import censor_names, load_censor, stack_names
from testbed.tools.fitting.capture_reading import read_capture
from testbed.tools.fitting.examination import examine
from testbed.tools.fitting.hypotheses_tried import sentences, tried
from testbed.tools.fitting.library import Composition, candidates
from testbed.tools.recognition.capture_file import Capture
from tests.command import command
from tests.fitting.simulated import FAR, NEAR, OPEN, RELAY, make_call, profile_of

DROPPED = profile_of(Drop(0.3), Match(direction="down"))
ADDRESSES = ("192.168.1.5", "203.0.113.9", "198.51.100.7")


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_call(DROPPED, seed=3, duration_s=12).write(tmp_path_factory.mktemp("call"))


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_call(OPEN, seed=4, duration_s=12).write(tmp_path_factory.mktemp("control"))


def test_without_a_control_nothing_is_put_down_to_a_restriction(ends: tuple[Path, Path]) -> None:
    ended = command("fit", *map(str, ends))
    assert ended.status == 0
    assert ended.out.startswith("Consistent with a restriction, or with a bad line")
    assert "more than in" not in ended.out.lower()
    assert "throttled" not in ended.out
    assert max(map(len, ended.out.splitlines())) <= 100


def test_a_control_lets_it_say_more(ends: tuple[Path, Path], control: tuple[Path, Path]) -> None:
    controls = [word for path in control for word in ("--control", str(path))]
    ended = command("fit", *map(str, ends), *controls)
    assert ended.out.startswith("More than in the control: packets lost independently")


def test_the_profile_that_it_writes_restricts_calls_as_the_capture_shows(
    ends: tuple[Path, Path], tmp_path: Path
) -> None:
    written = tmp_path / "mine.toml"
    assert command("fit", *map(str, ends), "--out", str(written)).status == 0
    [rule] = load_censor(str(written.with_suffix(""))).rules
    assert isinstance(rule.action, Drop)
    assert rule.action.probability == pytest.approx(0.3, abs=0.06)
    assert rule.match.direction == "down"
    assert rule.evidence["probability"].confidence == "measured"
    assert "sha256:" in rule.evidence["probability"].source
    assert not [each for each in ADDRESSES if each in written.read_text()]


def test_the_page_has_the_evidence_and_no_address(ends: tuple[Path, Path], tmp_path: Path) -> None:
    page = tmp_path / "mine.html"
    assert command("fit", *map(str, ends), "--page", str(page)).status == 0
    text = page.read_text()
    assert "<svg" in text
    assert "src=" not in text
    assert 'href="http' not in text
    assert not [each for each in ADDRESSES if each in text]


def test_json_has_each_number_with_its_interval(ends: tuple[Path, Path]) -> None:
    content = json.loads(command("fit", *map(str, ends), "--json").out)
    [finding] = [each for each in content["findings"] if each["in_profile"]]
    [number] = finding["numbers"]
    assert number["name"] == "probability"
    assert number["low"] < number["value"] < number["high"]
    assert len(content["sha256"]) == 2


def test_profiles_that_contradict_the_capture_are_told_from_those_that_do_not(
    ends: tuple[Path, Path],
) -> None:
    near, far = map(read_capture, ends)
    names = ("open", "loss-10", "loss-20", "loss-30")
    profiles = [*map(load_censor, names), DROPPED]
    found = candidates(examine(near, far), [Composition(each.name, (each,)) for each in profiles])
    assert [each.profile for each in found if each.is_possible] == ["test"]
    assert all(each.why for each in found if not each.is_possible)


@pytest.mark.slow
def test_the_library_has_profiles_and_stacks(tmp_path: Path) -> None:
    near, _ = make_call(OPEN, duration_s=2).write(tmp_path)
    content = json.loads(command("fit", str(near), "--library", "--json").out)
    possible = {each["profile"]: each["is_possible"] for each in content["library"]}
    assert set(possible) == {*censor_names(), *stack_names()}
    assert possible["open"]


def test_profiles_in_series_lose_what_each_of_them_loses(ends: tuple[Path, Path]) -> None:
    def dropping(name: str, probability: float) -> Profile:
        return replace(profile_of(Drop(probability), Match(direction="down")), name=name)

    near, far = map(read_capture, ends)
    stacks = {
        "as much together": (dropping("a", 0.16), dropping("b", 0.167)),
        "each as much": (dropping("c", 0.3), dropping("d", 0.3)),
    }
    found = candidates(
        examine(near, far), [Composition(name, parts) for name, parts in stacks.items()]
    )
    assert [each.profile for each in found if each.is_possible] == ["as much together"]


def test_anonymised_captures_yield_the_same_numbers_without_addresses_or_content(
    ends: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "anonymous"
    assert command("fit", *map(str, ends), "--anonymise", str(folder)).status == 0
    copies = [folder / "1.pcap", folder / "2.pcap"]
    for original, copy in zip(ends, copies, strict=True):
        data = copy.read_bytes()
        for end in (NEAR, RELAY, FAR):
            assert end.address not in data
        with Capture(original) as capture:
            payloads = [captured.data[28 + 12 :] for captured in capture]
        assert not [payload for payload in payloads if payload in data]
    numbers = [
        [(each["kind"], each["numbers"]) for each in json.loads(printed)["findings"]]
        for printed in (
            command("fit", *map(str, ends), "--json").out,
            command("fit", *map(str, copies), "--json").out,
        )
    ]
    assert numbers[0] == numbers[1]


def test_captures_that_do_not_belong_together_are_not_paired(
    ends: tuple[Path, Path], control: tuple[Path, Path]
) -> None:
    ended = command("fit", str(ends[0]), str(control[1]))
    assert ended.status == 0
    assert "too few to be two ends of a call" in " ".join(ended.out.split())


def test_the_report_of_a_capture_is_one_that_the_inference_reads(
    ends: tuple[Path, Path], tmp_path: Path
) -> None:
    written = tmp_path / "reports.toml"
    assert command("fit", *map(str, ends), "--report", str(written)).status == 0
    head = 'title = "mine"\nquestion = "what?"\nreviewed = "2026-11-30"\nhypotheses = "ru-calls"\n'
    written.write_text(head + written.read_text())
    [report] = load_reports(str(written)).reports
    assert report.observed.connects is True
    assert report.not_in_lab  # plain RTP does not tell which messenger it was
    assert not [each for each in ADDRESSES if each in written.read_text()]


def test_a_family_of_hypotheses_says_which_of_its_censors_are_possible(
    ends: tuple[Path, Path],
) -> None:
    near, far = map(read_capture, ends)
    found = tried(examine(near, far), load_family("ru-calls"), drawn=4)
    assert found.possible.n == 4
    # None of them drops plain RTP on such ports in one direction only.
    assert found.possible.value == 0
    assert sentences(found)[0].startswith("Of 4 censors drawn from the prior of ru-calls, 0%")
