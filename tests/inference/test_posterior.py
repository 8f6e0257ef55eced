"""What is believed after reports, where it can be computed otherwise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from testbed.experiment.reports import chance
from testbed.inference import draws as drawing
from testbed.inference.emulator import fit, log_loss
from testbed.inference.posterior import Posterior, draw, weigh, weighted_quantiles
from testbed.inference.report_likelihoods import reported, truth
from tests.inference.small import family, model

ONE = "one box"
COUNT = 40_000


def test_a_box_alone_has_exactly_the_prior(tmp_path: Path) -> None:
    cube = drawing.Cube(family(tmp_path), [ONE, "another"])
    rows = np.random.default_rng(1).random((COUNT, cube.size))
    for box in cube.boxes:
        found = cube.box(rows, box)
        for u in found.T:
            counts, _ = np.histogram(u, 10, (0, 1))
            assert abs(counts / COUNT - 0.1).max() < 0.01


def test_boxes_are_related_as_the_family_says(tmp_path: Path) -> None:
    for alike, least, most in (("0, 0", -0.03, 0.03), ("0.9, 0.9", 0.85, 0.92)):
        cube = drawing.Cube(family(tmp_path, alike=alike), [ONE, "another"])
        rows = np.random.default_rng(1).random((COUNT, cube.size))
        one, other = (cube.box(rows, name)[:, 1] for name in cube.boxes)
        assert least < np.corrcoef(one, other)[0, 1] < most


def test_points_have_the_values_that_their_coordinates_say(tmp_path: Path) -> None:
    small = family(tmp_path)
    assert drawing.values_of(small, np.array([0.49, 0.25, 0.51])) == {
        "stun": "yes",
        "drop": 0.25,
        "depth": "4",
    }


def test_a_longer_design_begins_with_the_shorter_one(tmp_path: Path) -> None:
    small = family(tmp_path)
    assert np.array_equal(drawing.design(small, 32, 1)[:20], drawing.design(small, 20, 1))


def test_reports_of_two_strengths_find_the_strength_between_them(tmp_path: Path) -> None:
    asked = model(family(tmp_path, wrong=0.1), {ONE: [0.2, 0.3, 0.5, 0.6]})
    found = weigh(asked, draw(asked, COUNT, 1), np.array([True, True, False, False]))
    assert found.choices(ONE, "stun")["yes"] > 0.95
    low, high = found.quantiles(ONE, "drop", np.array([0.1, 0.9]), there(found, ONE))
    assert 0.25 < low < 0.4 < high < 0.55


def test_what_is_believed_is_what_a_sum_over_a_grid_gives(tmp_path: Path) -> None:
    asked = model(family(tmp_path, alike="0, 0", wrong=0.2), {ONE: [0.2, 0.6]})
    found = weigh(asked, draw(asked, 200_000, 1), np.array([True, False]))
    drop, wrong = np.meshgrid(np.linspace(0.0025, 0.9975, 200), np.linspace(0.001, 0.199, 100))
    likelihood = {}
    for there in (1, 0):
        shares = [0.02 + 0.96 / (1 + np.exp(-40 * (there * drop - limit))) for limit in (0.2, 0.6)]
        likelihood[there] = reported(shares[0], wrong) * (1 - reported(shares[1], wrong))
    yes, no = likelihood[1].mean(), likelihood[0].mean()
    assert found.choices(ONE, "stun")["yes"] == pytest.approx(yes / (yes + no), abs=0.01)
    assert found.log_evidence == pytest.approx(np.log((yes + no) / 2), abs=0.02)


def test_contradictory_reports_may_be_of_different_boxes(tmp_path: Path) -> None:
    """Pooled, boxes that drop 10 and 60 % look like one that drops something between."""
    limits = [0.05, 0.15, 0.3, 0.45, 0.55, 0.65]
    weak = [limit < 0.1 for limit in limits]
    strong = [limit < 0.6 for limit in limits]
    asked = model(family(tmp_path, wrong=0.1), {"weak": limits, "strong": limits})
    found = weigh(asked, draw(asked, 200_000, 1), np.array([*weak, *strong]))
    for box, truth_ in (("weak", 0.1), ("strong", 0.6)):
        shares = np.array([0.05, 0.95])
        low, high = found.quantiles(box, "drop", shares, there(found, box))
        assert low < truth_ < high
        assert high - low < 0.4


def test_reports_tell_nothing_of_what_nothing_depends_on(tmp_path: Path) -> None:
    asked = model(family(tmp_path), {ONE: [0.2, 0.3, 0.5]})
    found = weigh(asked, draw(asked, COUNT, 1))
    assert found.bits(ONE, "depth") < 0.01
    assert found.bits(ONE, "drop") > 0.3
    assert found.choices(ONE, "depth")["any"] == pytest.approx(0.5, abs=0.02)


def test_the_source_of_a_report_that_all_others_contradict_was_probably_wrong(
    tmp_path: Path,
) -> None:
    asked = model(family(tmp_path, wrong=0.4), {ONE: [0.1, 0.11, 0.12, 0.13, 0.14, 0.15]})
    found = weigh(asked, draw(asked, COUNT, 1), np.array([True] * 6))
    assert found.misreported.max() < 0.1
    mixed = model(family(tmp_path, wrong=0.4), {ONE: [0.1, 0.11, 0.12, 0.13, 0.14, 1.5]})
    assert weigh(mixed, draw(mixed, COUNT, 1)).misreported[-1] > 0.8


@pytest.mark.parametrize("calls", ["one", "most", "all"])
def test_arrays_and_numbers_have_the_same_chance(calls: str) -> None:
    shares = np.array([0.0, 0.2, 0.6, 1.0])
    assert calls in ("one", "most", "all")
    kind = "one" if calls == "one" else "most" if calls == "most" else "all"
    found = truth(kind, shares)  # type: ignore[arg-type]
    assert found.tolist() == pytest.approx([chance(kind, share) for share in shares])  # type: ignore[arg-type]


def there(found: Posterior, box: str) -> drawing.Floats:
    is_there: drawing.Floats = (found.chosen(box, "stun") == 0).astype(float)
    return is_there


def test_quantiles_count_weights() -> None:
    values, weights = np.array([3.0, 1.0, 2.0]), np.array([0.1, 0.8, 0.1])
    assert weighted_quantiles(values, weights, np.array([0.5, 0.95])).tolist() == [1, 3]
    assert np.isnan(weighted_quantiles(values, np.zeros(3), np.array([0.5]))).all()


def test_an_emulator_learns_from_single_calls() -> None:
    rng = np.random.default_rng(1)
    points, tested = rng.random((80, 3)), rng.random((500, 3))
    real = fit(points, rng.random(80) < _share(points))
    happened = rng.random(500) < _share(tested)
    base = float(happened.mean())
    assert abs(real(tested) - _share(tested)).mean() < 0.1
    assert log_loss(real(tested), happened) < log_loss(np.full(500, base), happened) - 0.2


def test_an_emulator_of_calls_that_all_failed_is_not_certain() -> None:
    always = fit(np.random.default_rng(1).random((19, 2)), np.ones(19, bool))
    assert always(np.zeros((2, 2))).tolist() == [0.975, 0.975]


def _share(points: drawing.Floats) -> drawing.Floats:
    found: drawing.Floats = 1 / (1 + np.exp(-12 * (points[:, 0] - 0.5)))
    return found
