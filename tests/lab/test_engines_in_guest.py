"""baresip and Chromium in real guests: they call, are heard, repeat, and fall back or fail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import trio

from testbed import runner
from testbed.cell import TransportChoice
from testbed.engines import ENGINES
from testbed.kernel.build import Kernel
from testbed.results import CellResult, Run, frames_of
from testbed.scenario import load_censor
from tests.lab.conftest import short_cell
from tests.lab.test_cells_in_guest import CPUS, conducted, files_of
from tests.lab.test_real_engine_in_guest import likeness

pytestmark = pytest.mark.guest
SLOW = pytest.mark.slow
ALIKE = {"baresip": 0.7, "webrtc": 0.5}
"""How alike at least what is heard is; Chromium filters the lows."""


def again(kernel: Kernel, run: Run, folder: Path, result: CellResult, engine: str) -> CellResult:
    second = Run(folder)
    second.begin(run.manifest(), "", fresh=False)
    [repeated] = conducted(
        kernel, second, short_cell(engine, "direct", result.content["censor"], duration_s=3)
    )
    return repeated


@pytest.mark.parametrize("engine", ["baresip", pytest.param("webrtc", marks=SLOW)])
def test_an_engine_is_heard_and_repeats_to_the_byte(
    kernel: Kernel, run: Run, tmp_path: Path, engine: str
) -> None:
    [result] = conducted(kernel, run, short_cell(engine, "direct", "open", duration_s=3))
    assert result.verdict.label == "good"
    assert 0.05 < result.content["record"]["call"]["set_up_s"] < 1
    for way, direction in frames_of(result).items():
        assert len(direction.sent_s) == pytest.approx(3 / 0.02, abs=2)
        assert len(direction.received) == len(direction.sent_s)
        assert likeness(result, way) > ALIKE[engine]
    assert files_of(result) == files_of(again(kernel, run, tmp_path / "again", result, engine))


@SLOW
@pytest.mark.parametrize("engine", ["baresip", "webrtc"])
@pytest.mark.parametrize("transport", ["obfs4", "wireguard", "udp_over_tls"])
def test_any_transport_carries_an_engine(
    kernel: Kernel, run: Run, engine: str, transport: str
) -> None:
    cell = short_cell(engine, "direct", "ru-calls-2025-08", duration_s=4)
    [result] = conducted(kernel, run, replace(cell, transport=TransportChoice(transport)))
    assert result.verdict.label == "good"
    for way in ("up", "down"):
        assert likeness(result, way) > ALIKE[engine]


@SLOW
def test_a_softphone_whose_media_is_blocked_has_no_call(kernel: Kernel, run: Run) -> None:
    cell = short_cell("baresip", "direct", "open", duration_s=1)
    [result] = conducted(kernel, run, replace(cell, censor=load_censor("udp-blocked")))
    call = result.content["record"]["call"]
    assert result.verdict.label == "no call"
    assert 30 <= call["ended_s"] < 31
    assert "CALL_ESTABLISHED" in {state for _, _, state in call["states"]}, "SIP alone came through"


@SLOW
def test_a_browser_falls_back_to_its_relay_by_tcp(kernel: Kernel, run: Run) -> None:
    cell = short_cell("webrtc", "direct", "open", duration_s=4)
    [result] = conducted(kernel, run, replace(cell, censor=load_censor("udp-blocked")))
    assert result.verdict.label == "good"
    assert likeness(result, "up") > ALIKE["webrtc"]
    for direction in frames_of(result).values():
        assert len(direction.received) == len(direction.sent_s)


@SLOW
def test_a_browser_counts_what_it_conceals(kernel: Kernel, run: Run) -> None:
    cell = short_cell("webrtc", "direct", "open", duration_s=10)
    [result] = conducted(kernel, run, replace(cell, censor=load_censor("loss-30")))
    for reports in result.content["record"]["call"]["reports"].values():
        assert len(reports) >= 10, "one a second"
        assert 0.02 < reports[-1]["concealed"] / reports[-1]["total"] < 0.35
        totals = [report["total"] for report in reports]
        assert totals == sorted(totals)


@pytest.mark.parametrize(
    ("engine", "remedy"),
    [
        ("baresip", r"baresip: \./lab install baresip-core"),
        ("webrtc", r"chromium-headless-shell: \./lab install chromium-headless-shell"),
    ],
)
def test_a_missing_program_says_what_to_install(
    kernel: Kernel, run: Run, monkeypatch: pytest.MonkeyPatch, engine: str, remedy: str
) -> None:
    monkeypatch.setattr("testbed.transport.shutil.which", lambda *_, **__: None)
    cell = short_cell(engine, "direct", "open", duration_s=1)
    assert cell.messenger.engine in ENGINES
    with pytest.raises(runner.LabError, match=remedy):
        trio.run(runner.run_cells, run, [cell], runner.in_guest(kernel), CPUS, print)
