"""Validation shows a sound inference to be sound, and each wrong one to be wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from testbed.experiment.hypotheses import Observation
from testbed.inference import information, nested, prediction_scores
from testbed.inference.draws import Floats
from testbed.inference.posterior import Draws, draw, weigh
from testbed.inference.report_likelihoods import Model
from testbed.inference.simulated_truths import Validation, band, surprises, validate
from tests.inference.small import BROKEN, SETTING, broken_above, family, model

ONE = "one box"
LIMITS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return model(family(tmp_path_factory.mktemp("family"), wrong=0.1), {ONE: LIMITS})


@pytest.fixture(scope="module")
def draws(asked: Model) -> Draws:
    return draw(asked, 8_000, 1)


def validated(asked: Model, draws: Draws, believed: Draws | None = None) -> Validation:
    return validate(asked, ONE, believed or draws, draw(asked, 300, 2), seed=3)


def test_ranks_of_truths_are_uniform_and_intervals_cover(asked: Model, draws: Draws) -> None:
    found = validated(asked, draws)
    assert found.outside == []
    by_name = {each.name: each for each in found.coordinates}
    assert by_name["drop"].coverage(0.9) == pytest.approx(0.9, abs=0.05)
    assert by_name["drop"].contraction > 0.3
    assert abs(by_name["depth"].contraction) < 0.03  # as wide as the prior
    assert found.abstained < 0.1


def test_returning_the_prior_does_not_contract(asked: Model, draws: Draws) -> None:
    mute = replace(draws, truths=np.full_like(draws.truths, 0.5))
    found = validated(asked, draws, mute)
    assert found.outside == []
    assert max(abs(each.contraction) for each in found.coordinates) < 0.03


def test_a_wrong_model_of_the_calls_leaves_the_band(asked: Model, draws: Draws) -> None:
    shifted = draws.truths[:, [2, 3, 4, 5, 6, 7, 7, 7]]  # calls break at weaker drops than believed
    assert "drop" in validated(asked, draws, replace(draws, truths=shifted)).outside


def test_too_much_certainty_covers_too_little(asked: Model, draws: Draws) -> None:
    certain = replace(draws, wrong=np.full_like(draws.wrong, 1e-4))
    truths = draw(asked, 300, 2)
    loud = replace(truths, wrong=np.full_like(truths.wrong, 0.3))
    found = validate(asked, ONE, certain, loud, seed=3)
    assert {each.name: each for each in found.coordinates}["drop"].coverage(0.9) < 0.8


def test_the_inference_abstains_from_reports_that_no_censor_explains(
    asked: Model, draws: Draws
) -> None:
    upside_down = np.array([[limit > 0.4 for limit in LIMITS]])  # strong lines fine, weak broken
    as_believed = np.array([[limit < 0.4 for limit in LIMITS]])
    assert surprises(draws, upside_down, 1)[0] < 0.05
    assert surprises(draws, as_believed, 1)[0] > 0.2


def test_the_band_contains_all_bins_of_uniform_ranks_nineteen_times_in_twenty() -> None:
    rng = np.random.default_rng(5)
    low, high = band(300, 4)
    made = rng.multinomial(300, np.full(10, 0.1), size=(1000, 4))
    inside = ((made >= low) & (made <= high)).all(axis=(1, 2)).mean()
    assert inside == pytest.approx(0.95, abs=0.025)


@pytest.mark.slow
def test_nested_sampling_agrees_with_weighted_draws(asked: Model, draws: Draws) -> None:
    few = replace(asked, statements=asked.statements[:3])
    some = Draws(draws.rows, draws.truths[:, :3], draws.wrong[:, :3])
    other = nested.sample(few, seed=1)
    found = weigh(few, some)
    assert nested.largest_difference(found, other)[2] < 0.08
    assert other.log_evidence == pytest.approx(found.log_evidence, abs=0.3)


def test_reports_that_agree_predict_each_other_better_than_the_base_rate(
    asked: Model, draws: Draws
) -> None:
    of_all = {each.name: each for each in prediction_scores.leave_sources_out(asked, draws)}
    assert of_all["inference"].log_bits < of_all["prior"].log_bits
    assert of_all["inference"].brier < of_all["prior"].brier
    weak = prediction_scores.of_profile(asked, draws, np.full(len(LIMITS), 0.02))
    assert weak.log_bits > of_all["inference"].log_bits


def test_a_report_that_follows_from_the_others_carries_no_bits(tmp_path: Path) -> None:
    repeated = model(family(tmp_path, wrong=0.001), {ONE: [0.2, 0.7, 0.71, -5]})
    bits = prediction_scores.bits_of_each(repeated, draw(repeated, 20_000, 1))
    assert bits[0] < 0.1  # broken above 0.7 implies above 0.2
    assert bits[3] < 0.01  # always broken


def test_what_separates_the_mechanisms_is_worth_observing(asked: Model, draws: Draws) -> None:
    posterior = weigh(asked, draws, np.array([False] * len(LIMITS)))
    box = posterior.box(ONE)
    knows = information.mutual(
        posterior.weights, _sure(box[:, 0] < 0.5), posterior.chosen(ONE, "stun")
    )
    nothing = information.mutual(
        posterior.weights, _sure(box[:, 2] < 0.5), posterior.chosen(ONE, "stun")
    )
    p = posterior.choices(ONE, "stun")["yes"]
    entropy = float(information.entropy(np.array([p]))[0])
    assert knows == pytest.approx(entropy, abs=0.01)
    assert nothing < 0.01


def test_of_equal_observations_the_one_with_less_risk_comes_first(
    asked: Model, draws: Draws
) -> None:
    made = Observation("do calls work?", "whatsapp", BROKEN, 4.0, "some", "none")
    safe = replace(made, title="has somebody published it?", risk=1.0, public=True)
    emulated = replace(
        asked.settings[asked.statements[0].setting], emulators={BROKEN: broken_above(0.3)}
    )
    of_two = replace(
        asked,
        cube=replace(asked.cube, family=replace(asked.cube.family, observations=(made, safe))),
        settings={**asked.settings, SETTING: emulated},
    )
    found = information.expected(weigh(of_two, draws, np.zeros(len(LIMITS), bool)), ONE)
    assert [each.observation.risk for each in found] == [1.0, 4.0]
    assert found[0].bits == found[1].bits


def _sure(there: NDArray[np.bool_]) -> Floats:
    return there.astype(float)
