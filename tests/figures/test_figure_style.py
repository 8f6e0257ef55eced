from __future__ import annotations

from itertools import combinations, pairwise

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from testbed.call.quality.verdict import Verdict
from testbed.show.drawing import style
from testbed.show.drawing.style import FAILED_FILL, VERDICT_FILLS, Fill

# Machado, Oliveira and Fernandes 2009, severity 1, for linear RGB.
COLOUR_BLINDNESS = {
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}
SRGB_TO_XYZ = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
WHITE = (0.9505, 1.0, 1.089)


def test_the_worse_the_darker_in_steps_that_are_seen() -> None:
    best_first = [VERDICT_FILLS[v].lightness for v in sorted(Verdict, reverse=True)]
    steps = [lighter - darker for lighter, darker in pairwise([FAILED_FILL.lightness, *best_first])]
    assert min(steps) > 11, steps


def lab_as_seen(colour: str, kind: str) -> NDArray[np.float64]:
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(COLOUR_BLINDNESS[kind]) @ linear, 0, 1)
    ratio = np.array(SRGB_TO_XYZ) @ seen / np.array(WHITE)
    x, y, z = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("kind", COLOUR_BLINDNESS)
def test_verdicts_stay_apart_for_the_colour_blind(kind: str) -> None:
    seen = [lab_as_seen(fill.colour, kind) for fill in VERDICT_FILLS.values()]
    distances = [float(np.linalg.norm(one - other)) for one, other in combinations(seen, 2)]
    assert min(distances) > 20, distances


def test_text_on_every_fill_and_on_paper_can_be_read() -> None:
    for fill in (*VERDICT_FILLS.values(), FAILED_FILL):
        assert style.contrast(fill.colour, fill.ink) >= 4.5
    assert style.contrast(style.PAPER, style.FAINT_INK) >= 4.5


def test_neighbouring_verdicts_differ_in_hatch_too() -> None:
    hatches = [VERDICT_FILLS[v].hatch for v in sorted(Verdict)]
    assert all(one != other for one, other in pairwise(hatches))


def test_lightness_is_that_of_the_cie() -> None:
    assert Fill("#ffffff").lightness == pytest.approx(100)
    assert Fill("#000000").lightness == pytest.approx(0)
    assert Fill("#777777").lightness == pytest.approx(50.03, abs=0.01)


def test_a_persons_settings_are_ignored_and_come_back() -> None:
    with matplotlib.rc_context({"font.size": 31.0}):
        with style.applied():
            assert matplotlib.rcParams["font.size"] == style.TEXT_PT
        assert matplotlib.rcParams["font.size"] == 31.0


def test_lines_break_at_spaces_and_rather_after_a_comma() -> None:
    with style.applied():
        text = "Under the restriction of August, which transport keeps a call usable?"
        width = style.text_width_in(text, 11)
        assert style.balanced(text, width + 0.1, 11) == text
        lines = style.balanced(text, width * 0.8, 11).split("\n")
        assert lines == ["Under the restriction of August,", "which transport keeps a call usable?"]
        assert style.wrapped("15\xa0% x", 0.01, 8) == "15\xa0%\nx"
