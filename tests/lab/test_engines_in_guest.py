"""Engines that are not Telegram's in real guests: they call, are heard, repeat, fall back, fail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from testbed.experiment.cell import Cell, TransportChoice
from testbed.experiment.scenario import load_censor
from testbed.guest.kernel.builder import Kernel
from testbed.record.results import RecordedCell, Run
from testbed.tools.fitting.webrtc_dumps import read_dump
from tests.lab.conftest import quick, short_cell
from tests.lab.test_cells_in_guest import conducted, files_of

pytestmark = pytest.mark.guest
SLOW = pytest.mark.slow
MISSED = 0.05
"""How many of the symbols that were said a listener may miss on an open line."""


WEBRTC = ("webrtc", "webrtc-chromium")
of_webrtc = pytest.mark.parametrize("engine", WEBRTC)


def asked(engine: str, censor: str = "open", *, duration_s: float) -> Cell:
    """Return a call whose ends say symbols, so that what was heard is known."""
    return replace(short_cell(engine, "direct", censor, duration_s=duration_s), said="symbols")


def again(kernel: Kernel, run: Run, folder: Path, engine: str) -> RecordedCell:
    second = Run(folder)
    second.begin(run.manifest(), "", fresh=False)
    [repeated] = conducted(kernel, second, asked(engine, duration_s=3))
    return repeated


@pytest.mark.parametrize("engine", quick(["baresip", "webrtc", "webrtc-chromium"], "webrtc"))
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
@pytest.mark.parametrize("engine", ["baresip", *WEBRTC])
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
@of_webrtc
def test_webrtc_falls_back_to_its_relay_by_tcp(kernel: Kernel, run: Run, engine: str) -> None:
    cell = asked(engine, duration_s=4)
    [result] = conducted(kernel, run, replace(cell, censor=load_censor("udp-blocked")))
    assert result.record.verdict.label == "good"
    assert max(result.record.symbols_missed.values()) < MISSED
    for direction in run.frames(result).values():
        assert len(direction.received) == len(direction.sent_s)


@SLOW
@of_webrtc
def test_webrtc_that_loses_udp_after_10_s_does_not_come_back_by_tcp(
    kernel: Kernel, run: Run, engine: str
) -> None:
    [blocked] = load_censor("udp-blocked").rules
    evidence = {**blocked.evidence, "from_s": blocked.evidence["match"]}
    late = replace(
        load_censor("udp-blocked"), rules=(replace(blocked, from_s=13, evidence=evidence),)
    )
    cell = short_cell(engine, "direct", "open", duration_s=30)
    [result] = conducted(kernel, run, replace(cell, censor=late))
    call = result.record.observation.call
    assert call.outcome == "dropped"
    assert call.silent_s is not None
    assert 14 < call.silent_s < 17
    assert not any(report.get("by_tcp") for end in call.reports.values() for report in end)


@SLOW
@of_webrtc
def test_webrtc_counts_what_it_conceals(kernel: Kernel, run: Run, engine: str) -> None:
    cell = short_cell(engine, "direct", "open", duration_s=10)
    [result] = conducted(kernel, run, replace(cell, censor=load_censor("loss-30")))
    for reports in result.record.observation.call.reports.values():
        assert len(reports) >= 10, "one a second"
        assert 0.02 < reports[-1]["concealed"] / reports[-1]["total"] < 0.35
        totals = [report["total"] for report in reports]
        assert totals == sorted(totals)


@SLOW
@of_webrtc
def test_webrtc_requests_what_was_lost_only_when_it_was_made_to(
    kernel: Kernel, run: Run, engine: str
) -> None:
    loses = load_censor("loss-10")
    cells = [
        replace(short_cell(name, "direct", "open", duration_s=6), censor=loses)
        for name in (engine, f"{engine}-nack")
    ]
    never, requested = conducted(kernel, run, *cells)
    for reports in never.record.observation.call.reports.values():
        assert reports[-1].get("nacks", 0) == 0
    for reports in requested.record.observation.call.reports.values():
        assert reports[-1]["nacks"] > 10, "of 300 packets 30 are lost"
    for direction in run.frames(requested).values():
        assert len({frame for frame, _ in direction.received}) > 0.97 * len(direction.sent_s)


def test_webrtc_leaves_its_statistics_as_a_dump_that_the_lab_can_read(
    kernel: Kernel, run: Run
) -> None:
    cell = short_cell("webrtc", "direct", "open", duration_s=6)
    [result] = conducted(kernel, run, replace(cell, censor=load_censor("loss-30")))
    for end in ("caller", "callee"):
        found = read_dump(result.folder / f"{end}-webrtc-internals.json")
        [heard] = [each for each in found if each.direction == "down"]
        assert heard.loss is not None
        assert heard.loss.low < 0.3 < heard.loss.high


def test_what_red_carries_again_is_heard_where_fec_alone_leaves_gaps(
    kernel: Kernel, run: Run
) -> None:
    loses = load_censor("loss-30")
    cells = [
        replace(asked(name, duration_s=8), censor=loses)
        for name in ("webrtc", "webrtc-no-fec", "webrtc-red")
    ]
    with_fec, without, with_red = conducted(kernel, run, *cells)

    def lost(result: RecordedCell) -> float:
        ways = run.frames(result).values()
        return sum(1 - len({n for n, _ in way.received}) / len(way.sent_s) for way in ways) / 2

    def concealed(result: RecordedCell) -> float:
        last = [end[-1] for end in result.record.observation.call.reports.values()]
        return sum(each["concealed"] / each["total"] for each in last) / 2

    assert lost(with_fec) == pytest.approx(0.3, abs=0.08)
    assert lost(with_red) == pytest.approx(0.09, abs=0.05), "two losses in a row"
    assert concealed(with_red) < concealed(with_fec) < concealed(without)
