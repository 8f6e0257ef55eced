"""baresip and Chromium in real guests: they call, are heard, repeat, and fall back or fail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from testbed.experiment.cell import Cell, TransportChoice
from testbed.experiment.scenario import load_censor
from testbed.guest.kernel.builder import Kernel
from testbed.record.results import RecordedCell, Run
from tests.lab.conftest import short_cell
from tests.lab.test_cells_in_guest import conducted, files_of

pytestmark = pytest.mark.guest
SLOW = pytest.mark.slow
MISSED = 0.05
"""How many of the symbols that were said a listener may miss on an open line."""


def asked(engine: str, censor: str = "open", *, duration_s: float) -> Cell:
    """Return a call whose ends say symbols, so that what was heard is known."""
    return replace(short_cell(engine, "direct", censor, duration_s=duration_s), said="symbols")


def again(kernel: Kernel, run: Run, folder: Path, engine: str) -> RecordedCell:
    second = Run(folder)
    second.begin(run.manifest(), "", fresh=False)
    [repeated] = conducted(kernel, second, asked(engine, duration_s=3))
    return repeated


@SLOW
@pytest.mark.parametrize("engine", ["baresip", "webrtc"])
def test_an_engine_is_heard_and_repeats_to_the_byte(
    kernel: Kernel, run: Run, tmp_path: Path, engine: str
) -> None:
    [result] = conducted(kernel, run, asked(engine, duration_s=3))
    assert result.record.verdict.label == "good"
    assert result.record.set_up_s is not None
    assert 0.05 < result.record.set_up_s < 1
    for way, direction in run.frames(result).items():
        assert len(direction.sent_s) == pytest.approx(3 / 0.02, abs=2)
        assert len(direction.received) == len(direction.sent_s)
        assert result.record.symbols_missed[way] < MISSED
    assert files_of(result) == files_of(again(kernel, run, tmp_path / "again", engine))


def test_a_model_is_asked_by_the_ear_that_engines_are(kernel: Kernel, run: Run) -> None:
    clear = asked("telegram-model", duration_s=6)
    lossy = replace(clear, censor=load_censor("loss-30"), seed=2)
    without_fec = replace(clear.messenger.codec, fec=False)
    lossy = replace(lossy, messenger=replace(clear.messenger, codec=without_fec))
    for result in conducted(kernel, run, clear, lossy):
        for way, direction in run.frames(result).items():
            arrived = {index for index, _ in direction.received}
            lost_share = 1 - len(arrived) / len(direction.sent_s)
            assert result.record.symbols_missed[way] == pytest.approx(lost_share, abs=0.02)


@SLOW
@pytest.mark.parametrize("engine", ["baresip", "webrtc"])
@pytest.mark.parametrize("transport", ["obfs4", "wireguard", "udp_over_tls"])
def test_any_transport_carries_an_engine(
    kernel: Kernel, run: Run, engine: str, transport: str
) -> None:
    cell = asked(engine, "ru-calls-2025-08", duration_s=4)
    [result] = conducted(kernel, run, replace(cell, transport=TransportChoice(transport)))
    assert result.record.verdict.label == "good"
    assert max(result.record.symbols_missed.values()) < MISSED


@SLOW
def test_a_softphone_whose_media_is_blocked_has_no_call(kernel: Kernel, run: Run) -> None:
    cell = short_cell("baresip", "direct", "open", duration_s=1)
    [result] = conducted(kernel, run, replace(cell, censor=load_censor("udp-blocked")))
    call = result.record.observation.call
    assert result.record.verdict.label == "no call"
    assert 30 <= call.ended_s < 31
    assert "CALL_ESTABLISHED" in {state for _, _, state in call.states}, "SIP alone came through"


@SLOW
def test_a_browser_falls_back_to_its_relay_by_tcp(kernel: Kernel, run: Run) -> None:
    cell = asked("webrtc", duration_s=4)
    [result] = conducted(kernel, run, replace(cell, censor=load_censor("udp-blocked")))
    assert result.record.verdict.label == "good"
    assert max(result.record.symbols_missed.values()) < MISSED
    for direction in run.frames(result).values():
        assert len(direction.received) == len(direction.sent_s)


@SLOW
def test_a_browser_that_loses_udp_after_10_s_does_not_come_back_by_tcp(
    kernel: Kernel, run: Run
) -> None:
    [blocked] = load_censor("udp-blocked").rules
    evidence = {**blocked.evidence, "from_s": blocked.evidence["match"]}
    late = replace(
        load_censor("udp-blocked"), rules=(replace(blocked, from_s=13, evidence=evidence),)
    )
    cell = short_cell("webrtc", "direct", "open", duration_s=30)
    [result] = conducted(kernel, run, replace(cell, censor=late))
    call = result.record.observation.call
    assert call.outcome == "dropped"
    assert call.silent_s is not None
    assert 14 < call.silent_s < 17
    assert not any(report.get("by_tcp") for end in call.reports.values() for report in end)


@SLOW
def test_a_browser_counts_what_it_conceals(kernel: Kernel, run: Run) -> None:
    cell = short_cell("webrtc", "direct", "open", duration_s=10)
    [result] = conducted(kernel, run, replace(cell, censor=load_censor("loss-30")))
    for reports in result.record.observation.call.reports.values():
        assert len(reports) >= 10, "one a second"
        assert 0.02 < reports[-1]["concealed"] / reports[-1]["total"] < 0.35
        totals = [report["total"] for report in reports]
        assert totals == sorted(totals)


@SLOW
def test_a_browser_requests_what_was_lost_only_when_it_was_made_to(
    kernel: Kernel, run: Run
) -> None:
    loses = load_censor("loss-10")
    cells = [
        replace(short_cell(name, "direct", "open", duration_s=6), censor=loses)
        for name in ("webrtc", "webrtc-nack")
    ]
    never, requested = conducted(kernel, run, *cells)
    for reports in never.record.observation.call.reports.values():
        assert reports[-1].get("nacks", 0) == 0
    for reports in requested.record.observation.call.reports.values():
        assert reports[-1]["nacks"] > 10, "of 300 packets 30 are lost"
    for direction in run.frames(requested).values():
        assert len({frame for frame, _ in direction.received}) > 0.97 * len(direction.sent_s)
