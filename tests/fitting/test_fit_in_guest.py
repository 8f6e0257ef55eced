"""Fits captures that guests made: at the callers' own interfaces, and of replayed flows."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from testbed.censor.actions.drop import Drop
from testbed.censor.match import Match
from testbed.experiment.scenario import load_censor
from testbed.guest.kernel.builder import Kernel
from testbed.record.results import Run
from testbed.run.runner import in_guest
from testbed.tools.fitting import self_check
from testbed.tools.fitting.capture_reading import read_capture
from testbed.tools.fitting.controls import compared
from testbed.tools.fitting.examination import Examination, examine
from testbed.tools.fitting.recovery import capture_calls, evaluate_case
from testbed.tools.fitting.recovery_plan import plan
from testbed.tools.fitting.replayed_pairs import replay_flow
from tests.fitting.simulated import OPEN, make_call, profile_of

pytestmark = [pytest.mark.guest, pytest.mark.slow]
CPUS = sorted(os.sched_getaffinity(0))
DROPPED = replace(profile_of(Drop(0.3), Match(label="rtp", direction="up")), name="test")


def test_what_a_middlebox_dropped_is_recovered_at_the_ends_of_a_call(
    kernel: Kernel, run: Run
) -> None:
    case = next(each for each in plan(1, 10.0) if each.name == "loss-20")
    capture_calls([case], run, in_guest(kernel), CPUS[:1], lambda _: None)
    result = evaluate_case(case, run)
    assert {each.truth.direction for each in result.outcomes} == {"up", "down"}
    for outcome in result.outcomes:
        assert outcome.truth.value == 0.2
        assert outcome.reported == pytest.approx(0.2, abs=0.06)
    assert evaluate_case(case, run) == result  # as it was kept


def test_inverted_bytes_are_the_control_of_what_was_recognised(
    kernel: Kernel, tmp_path: Path
) -> None:
    near, _ = make_call(OPEN, seed=1, duration_s=10).write(tmp_path)
    pair = replay_flow(near, None, DROPPED, kernel, tmp_path / "pair", CPUS[0])
    seen = {
        each.variant: examine(read_capture(each.inside), read_capture(each.outside))
        for each in pair
    }
    against = {
        variant: [
            (finding.kind, finding.direction)
            for finding in compared(seen["as it was"], seen[variant])
            if finding.attribution == "beyond the control"
        ]
        for variant in ("inverted bytes", "other port")
    }
    # The profile goes by what it recognises: other bytes escape it, another port does not.
    assert against == {"inverted bytes": [("drop", "up")], "other port": []}


def test_a_call_under_the_fitted_profile_is_restricted_as_the_capture_shows(
    kernel: Kernel, tmp_path: Path
) -> None:
    def examined(name: str, profile: str) -> Examination:
        call = make_call(load_censor(profile), seed=1, duration_s=12)
        near, far = (read_capture(path) for path in call.write(tmp_path, name))
        return examine(near, far)

    captured, control = examined("call", "loss-30"), examined("control", "open")
    cell = self_check.similar_call(captured, control, load_censor("loss-30"))
    conduct = in_guest(kernel)
    modelled = self_check.made(cell, tmp_path / "made", conduct, CPUS[0], both_ends=True)
    pairs = self_check.pairs(captured, modelled)
    assert [way for way, _, _ in pairs] == ["up", "down"]
    for _, one, other in pairs:
        shares = [float((p.lost & p.counted).sum() / p.counted.sum()) for p in (one, other)]
        assert shares[0] == pytest.approx(shares[1], abs=0.06)
