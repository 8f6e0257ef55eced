"""An unknown name is refused with the known ones, and with the one that was probably meant."""

from __future__ import annotations

import json
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.censor.detectors import LABELS
from testbed.experiment import scenario
from testbed.experiment.choosing import transport_names
from testbed.lab.net.addresses import ADDRESS_LISTS
from tests.wrong_input.refusals import refused
from tests.wrong_input.test_wrong_files import EXAMPLES, USER

NAMES = {
    "messengers": scenario.messenger_names(),
    "transports": transport_names(),
    "censors": scenario.censor_names(),
    "links": scenario.link_set_names(),
    "topologies": ["one-sided", "both-sides"],
}
AXES = {
    "messenger": "messengers",
    "transport": "transports",
    "censor": "censors",
    "links": "links",
    "topology": "topologies",
}


@st.composite
def misspelt(draw: st.DrawFn, names: list[str]) -> tuple[str, str]:
    """A name that is known, and the same with one letter left out, doubled or replaced."""
    name = draw(st.sampled_from([each for each in names if len(each) > 4]))
    place = draw(st.integers(0, len(name) - 1))
    letter = draw(st.sampled_from(string.ascii_lowercase))
    wrong = name[:place] + draw(st.sampled_from(["", name[place] * 2, letter])) + name[place + 1 :]
    return (name, wrong) if wrong not in names else draw(misspelt(names))


def dry_run(path: Path, text: str) -> str:
    path.write_text(USER + text)
    return refused("name", "run", str(path), "--dry-run", "--out", str(path.parent / "run"))


@EXAMPLES
@given(st.sampled_from(sorted(NAMES)).flatmap(lambda k: st.tuples(st.just(k), misspelt(NAMES[k]))))
def test_of_a_misspelt_name_in_a_scenario_the_right_one_is_suggested(
    tmp_path: Path, wrong: tuple[str, tuple[str, str]]
) -> None:
    key, (name, misspelling) = wrong
    sentence = dry_run(tmp_path / "mine.toml", f"{key} = {json.dumps([misspelling])}\n")
    assert "Did you mean" in sentence, sentence
    assert name in sentence


@EXAMPLES
@given(
    st.sampled_from(sorted(AXES)).flatmap(lambda a: st.tuples(st.just(a), misspelt(NAMES[AXES[a]])))
)
def test_an_exclusion_that_matches_nothing_is_refused(
    tmp_path: Path, wrong: tuple[str, tuple[str, str]]
) -> None:
    axis, (name, misspelling) = wrong
    excluded = f"exclude = [{{ {axis} = {json.dumps(misspelling)} }}]\n"
    sentence = dry_run(tmp_path / "mine.toml", f"{AXES[axis]} = {json.dumps([name])}\n{excluded}")
    assert "exclude" in sentence
    assert misspelling in sentence
    assert "Did you mean" in sentence


@EXAMPLES
@given(
    st.sampled_from(sorted(AXES)).flatmap(lambda a: st.tuples(st.just(a), misspelt(NAMES[AXES[a]])))
)
def test_an_inclusion_of_nothing_is_refused(
    tmp_path: Path, wrong: tuple[str, tuple[str, str]]
) -> None:
    axis, (name, misspelling) = wrong
    sentence = dry_run(
        tmp_path / "mine.toml", f"include = [{{ {axis} = {json.dumps(misspelling)} }}]\n"
    )
    assert "Did you mean" in sentence
    assert name in sentence


@EXAMPLES
@given(st.sampled_from(["messenger", "transport"]).flatmap(
    lambda a: st.tuples(st.just(a), misspelt(NAMES[AXES[a]]))
))  # fmt: skip
def test_of_a_misspelt_name_in_an_option_the_right_one_is_suggested(
    wrong: tuple[str, tuple[str, str]],
) -> None:
    option, (_, misspelling) = wrong
    sentence = refused("name", "run", "quick", "--dry-run", f"--{option}", misspelling)
    assert "Did you mean" in sentence
    assert repr(misspelling) in sentence or not misspelling


OF_A_PROFILE = {
    "label": ("messenger-foreign", "label = {}", sorted(LABELS)),
    "servers": ("servers", "servers = [{}]", [*ADDRESS_LISTS, "messenger-foreign"]),
}
"""By key of a match: how it is written, and the names that it may have."""
RULE = """
title = "Wrong"
reviewed = "2026-11-30"
description = ""
[inspection]
reassembles = []
evidence = {{ reassembles = {{ source = "a test", confidence = "assumed" }} }}
[[rules]]
name = "one"
match = {{ {match} }}
action = {{ kind = "drop" }}
[rules.evidence]
match = {{ source = "a test", confidence = "assumed" }}
action = {{ source = "a test", confidence = "assumed" }}
probability = {{ source = "a test", confidence = "assumed" }}
"""


@EXAMPLES
@given(st.sampled_from(sorted(OF_A_PROFILE)).flatmap(
    lambda k: st.tuples(st.just(k), misspelt(OF_A_PROFILE[k][2]))
))  # fmt: skip
def test_the_dry_run_finds_misspelt_labels_and_address_lists_of_a_profile(
    library: Path, tmp_path: Path, wrong: tuple[str, tuple[str, str]]
) -> None:
    key, (name, misspelling) = wrong
    match = OF_A_PROFILE[key][1].format(json.dumps(misspelling))
    (library / "censors" / "wrong.toml").write_text(RULE.format(match=match))
    sentence = dry_run(tmp_path / "mine.toml", 'censors = ["wrong"]\n')
    assert key in sentence
    assert "Did you mean" in sentence, sentence
    assert name in sentence


@pytest.mark.parametrize("value", ["1e300", "inf", "-5", "70_000", "1e11"])
def test_a_sweep_stays_within_what_a_unit_can_be(tmp_path: Path, value: str) -> None:
    sweep = "name = 'reorder-late', sweep = 'delay', numbers = ['all.delay_ms']"
    sentence = dry_run(tmp_path / "mine.toml", f"censors = [{{ {sweep}, values = [{value}] }}]\n")
    assert "censors" in sentence
    assert "expected a number of" in sentence or "expected 0 to 60,000" in sentence


@pytest.mark.parametrize("rule", ["{}", "{ transport = 'direct' }"])
def test_an_exclusion_that_leaves_nothing_is_refused(tmp_path: Path, rule: str) -> None:
    sentence = dry_run(tmp_path / "mine.toml", f"exclude = [{rule}]\n")
    assert "mine.toml: exclude: it leaves no call" in sentence
