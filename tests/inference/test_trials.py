"""Trials show where an inference is sound and where it is not, by calls that are worked out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from testbed.experiment.hypotheses import load_family
from testbed.experiment.reports import load_reports
from testbed.experiment.scenario import load_censor
from testbed.inference.draws import Floats
from testbed.inference.report_likelihoods import Emulated
from testbed.tools.inferring.criteria import criteria
from testbed.tools.inferring.lab_truths import of_calls
from testbed.tools.inferring.outside import recognised
from testbed.tools.inferring.study import Inference, infer, study
from testbed.tools.inferring.trials import predicted, tried, untold
from testbed.tools.inferring.validation_figure import ranks_figure
from tests.inference.small import FAMILY
from tests.inference.test_study import EFFORT, REPORTS, Known

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Inference:
    folder = tmp_path_factory.mktemp("reports")
    (folder / "small.toml").write_text(FAMILY.format(alike="0.5, 0.9", wrong=0.1))
    (folder / "mine.toml").write_text(REPORTS.format(family=folder / "small.toml"))
    bank = Known(folder / "bank")
    effort = replace(EFFORT, first=32, more=32, draws=8000)
    return infer(study(load_reports(str(folder / "mine.toml")), bank, bank.run, effort))


def test_emulators_are_tested_on_calls_that_they_were_not_given(found: Inference) -> None:
    of_given = predicted(found.study)
    assert {each.observed for each in of_given} == {"no call or unusable or poor", "set up"}
    for each in of_given:
        assert each.calls == 72
        assert each.expected == pytest.approx(each.share, abs=0.1)
        assert each.log_loss < each.base_loss


def test_a_parameter_on_which_no_call_depends_stays_as_it_was(found: Inference) -> None:
    (name,) = untold(found)
    assert name == "depth"
    assert untold(found)["depth"] < 0.05


def test_truths_are_inferred_back_from_calls(found: Inference) -> None:
    made = of_calls(found, 300, 8000, seed=4)
    assert made.outside == []
    by_name = {each.name: each for each in made.coordinates}
    assert by_name["drop"].contraction > 0.05
    assert abs(by_name["depth"].contraction) < 0.03


def test_emulators_that_are_wrong_about_the_lab_are_found_out(found: Inference) -> None:
    """Simulated reports would not show it, because the same emulators simulate them."""

    def upside_down(emulator: Callable[[Floats], Floats]) -> Callable[[Floats], Floats]:
        return lambda inputs: 1 - emulator(inputs)

    wrong = {
        setting: Emulated(
            each.features, {seen: upside_down(e) for seen, e in each.emulators.items()}
        )
        for setting, each in found.model.settings.items()
    }
    lying = replace(found, model=replace(found.model, settings=wrong))
    assert "drop" in of_calls(lying, 300, 8000, seed=4).outside


def test_trials_say_what_was_shown_and_what_was_not(found: Inference) -> None:
    trials = tried(found, truths=300, draws=8000, seed=1)
    assert [each.name for each in trials.scores] == ["inference", "prior", "base rate"]
    assert "shape-40k" in {each.world for each in trials.outside}
    judged = {each.name: each.failures for each in criteria(trials)}
    assert judged["ranks are uniform"] == ()
    assert judged["what reports cannot tell stays"] == ()
    few = replace(trials, calibration=replace(trials.calibration, truths=299))
    assert "too few truths (simulated reports)" in criteria(few)[0].failures
    figure = ranks_figure(trials)
    assert any("drop, c " in axes.get_title(loc="left") for axes in figure.axes)


def test_what_needs_calls_counts_as_not_shown_if_none_were_made(found: Inference) -> None:
    def cannot(cells: object, what: str) -> None:
        pytest.fail(f"it made calls: {what}")

    without = replace(found, study=replace(found.study, run=cannot))
    judged = criteria(tried(without, truths=50, draws=2000, seed=1, lab=False))
    missing = {
        each.name for each in judged if "no calls were made for it in the lab" in each.failures
    }
    assert missing == {
        "ranks are uniform",
        "intervals cover",
        "reports narrow something",
        "what reports cannot tell stays",
        "no confident wrong answer outside of the family",
    }


def test_a_validation_that_finds_nothing_untold_has_not_shown_that_it_stays(
    found: Inference,
) -> None:
    trials = replace(tried(found, truths=50, draws=2000, seed=1, lab=False), untold={})
    judged = {each.name: each.failures for each in criteria(trials)}
    assert (
        "no parameter was found that direct calls do not depend on"
        in judged["what reports cannot tell stays"]
    )


def test_what_a_profile_recognises_is_found_in_its_rules() -> None:
    family = load_family("ru-calls")
    assert recognised(family, load_censor("voip-block-gulf")) == {"stun"}
    assert recognised(family, load_censor("shape-40k")) == frozenset()


def test_an_inference_that_abstains_from_a_world_names_nothing(found: Inference) -> None:
    trials = tried(found, truths=50, draws=4000, seed=1)
    for each in trials.outside:
        assert each.wrong <= 1 - each.abstained + 1e-9
        assert np.isfinite(each.reproduced)
