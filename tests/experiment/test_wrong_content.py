"""Something wrong in a file is named, by the file and the key, and what was expected is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.experiment.explanations import ScenarioError
from testbed.experiment.hypotheses import HYPOTHESES, load_family
from testbed.experiment.reports import REPORTS, load_reports
from testbed.experiment.scenario import CENSORS, SCENARIOS, load_censor, load_scenario
from testbed.experiment.unfolding import cells

FOUNDING = SCENARIOS / "ru-calls-2025-08.toml"
Change = tuple[str, str, str]
"""What stands in a shipped file, what stands there instead, and what is said of it."""


CHANGES: list[tuple[Callable[[str], object], Path, list[Change]]] = [
    (
        load_scenario,
        FOUNDING,
        [
            ("duration_s = 30", 'duration_s = "long"', r"duration_s: .*valid number"),
            ("duration_s = 30", "duration_s = 0", r"duration_s: 0 is out of range, .* 1 to 3,600"),
            (
                "jitter_ms = 1",
                "jiter_ms = 1",
                r"jiter_ms: Unexpected key, expected of changes, delay_ms, ",
            ),
            ("delay_ms = 4", "delay_ms = -4", r"access\.delay_ms: -4 is out of .* 0 to 60,000"),
            ("seeds = [1, 2, 3, 4, 5]", "seeds = []", r"seeds: expected at least 1 item$"),
            ("title", "titel", r"titel: Unexpected key, expected of censors, .*messengers, other_"),
            ("title = ", "[[", r"line 1"),
        ],
    ),
    (
        load_censor,
        CENSORS / "ru-calls-2025-08.toml",
        [
            ("probability = 0.9", "probability = 1.9", r"telegram-ports\.action: .*1\.9 is not"),
            ("probability = 0.9", "prob = 0.9", r"telegram-ports\.action\.prob: Unexpected"),
            ("590-1400", "1400-590", r"telegram-ports\.match: .*'1400-590' is neither"),
            ('"community"', '"sure"', r"telegram-ports\.evidence\.match\.confidence: .*'primary'"),
            ('kind = "drop"', 'kind = "slow"', r"telegram-ports\.action\.kind: .*'drop'"),
            (
                'label = "stun"',
                'label = "stunn"',
                r"stun\.match: label: no detector states 'stunn'",
            ),
            (
                'action = { source = "Reuters, August 2025: MAX is unrestricted',
                'act = { source = "Reuters',
                r"'domestic': evidence is missing for \['action'\]",
            ),
            ('name = "stun"', 'name = "domestic"', r"are not all different"),
        ],
    ),
    (
        load_censor,
        CENSORS / "ru-twitter-2021.toml",
        [
            ("packets = 16", "packet = 16", r"inspection\.packet: Unexpected"),
            ("idle_s = 600\n", "", r"inspection: .*unknown keys \['idle_s'\]"),
            ("sni = [", "sny = [", r"rules\.twitter\.match\.sny: Unexpected"),
            (
                '"police"',
                '"slow"',
                r"rules\.twitter\.action\.kind: Input should be 'answer', 'burst', .* or 'shape'$",
            ),
            ('"*t.co*"', "3", r"rules\.twitter\.match\.sni\.0: .*valid string"),
            (', opened = "inside"', ', listed = "x"', r"rule 'twitter': no rule keeps the list x"),
        ],
    ),
    (
        load_reports,
        REPORTS / "ru-calls-2025.toml",
        [
            ('when = "2025-08-13"', 'when = "2025-13"', r"when: there is no 2025-13"),
            ('when = "2025-08-13"', 'when = "August"', r"when: 'August' is no month"),
            ('symptoms = ["intermittent", "metallic"]', 'symptoms = ["metalic"]', r"'metallic'\?"),
            (
                "observed = { connects = true }",
                "observed = {}",
                r"whatsapp-connects.*at least one of",
            ),
            ('"telegram-barely"', '"max-works"', r"'max-works' is there twice"),
            ('messenger = "max"', "", r"max-works.*say in not_in_lab"),
            (
                'said = "MAX, a',
                'said = "@somebody: MAX, a',
                r"max-works.*leave out names and handles",
            ),
        ],
    ),
    (
        load_family,
        HYPOTHESES / "ru-calls.toml",
        [
            ("yes = 0.7, no = 0.3", "yes = 0.7, no = 0.4", r"stun.*sum is 1\.1"),
            ('"$stun-drop"', '"$stun-dropp"', r"'stun-dropp' is used.*Did you mean 'stun-drop'"),
            ('stun = "yes"', 'stun = "ja"', r"rule 'stun': when: stun: no 'ja'"),
            ("between = [0.05, 0.5]", "between = [0.5, 0.05]", r"congestion-loss.*must be below"),
            ('changes = ["2025-09-28"]', 'changes = ["September"]', r"'September' is no day"),
            ('"codec.frame_ms"', '"codec.frame"', r"numbers: there is no 'codec\.frame', such as"),
        ],
    ),
]


def changed(folder: Path, shipped: Path, before: str, after: str) -> str:
    """Write a copy of a shipped file in which something is different, and return its path."""
    text = shipped.read_text()
    assert before in text
    (folder / "wrong.toml").write_text(text.replace(before, after, 1))
    return str(folder / "wrong.toml")


@pytest.mark.parametrize(
    ("load", "shipped", "change"),
    [
        pytest.param(load, shipped, change, id=f"{shipped.parent.name}-{change[1]}")
        for load, shipped, changes in CHANGES
        for change in changes
    ],
)
def test_what_is_wrong_in_a_file_is_named(
    tmp_path: Path, load: Callable[[str], object], shipped: Path, change: Change
) -> None:
    before, after, said = change
    with pytest.raises(ScenarioError, match=said) as caught:
        load(changed(tmp_path, shipped, before, after))
    assert "wrong.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('"obfs4"]', '"obfs5"]', r"no transport 'obfs5'; there are anytls, desync, direct, "),
        (
            '"obfs4"]',
            '{ name = "obfs4", parameters = { iat_mode = 7 } }]',
            r"obfs4: iat_mode: .*0, 1 or 2",
        ),
        (
            '"obfs4"]',
            '{ name = "obfs4", parameters = { speed = 7 } }]',
            r"no parameter speed, only iat_mode",
        ),
        ('"open", ', '"opn", ', r"no censor profile 'opn': .*opn\.toml is missing; there are"),
    ],
)
def test_what_is_wrong_with_a_name_in_a_scenario_is_said_of_the_name(
    tmp_path: Path, before: str, after: str, said: str
) -> None:
    with pytest.raises(ScenarioError, match=said):
        cells(load_scenario(changed(tmp_path, FOUNDING, before, after)))
