"""Telegram's real engine in real guests: it calls, is heard, repeats, and fails with a reason."""

from __future__ import annotations

import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from testbed.censor.profile import with_numbers
from testbed.experiment.cell import TransportChoice
from testbed.experiment.scenario import load_censor
from testbed.guest.kernel.builder import Kernel
from testbed.listen.script import what_is_said
from testbed.record.results import RecordedCell, Run
from tests.lab.conftest import short_cell
from tests.lab.test_cells_in_guest import conducted, files_of

pytestmark = pytest.mark.guest
RESTRICTED = "ru-calls-2025-08"


def samples(pcm: bytes) -> NDArray[np.float64]:
    return np.frombuffer(pcm, "<i2").astype(np.float64)


def likeness(run: Run, result: RecordedCell, way: str) -> float:
    """Return how alike heard and said are at their best alignment: their correlation."""
    path = run.heard(result, way)
    assert path is not None
    with wave.open(str(path), "rb") as file:
        assert (file.getframerate(), file.getnchannels()) == (16000, 1)
        heard = samples(file.readframes(file.getnframes()))
    said = samples(what_is_said("speech", len(heard) / 16000).said[way].pcm)[: len(heard)]
    spectra = np.fft.rfft(heard, 2 * len(heard)) * np.conj(np.fft.rfft(said, 2 * len(heard)))
    best = float(np.fft.irfft(spectra).max())
    return best / float(np.linalg.norm(heard) * np.linalg.norm(said))


@pytest.mark.slow
def test_the_real_engine_is_heard_and_repeats_to_the_byte(
    kernel: Kernel, run: Run, tmp_path: Path
) -> None:
    cell = short_cell("telegram", "direct", "open", duration_s=3)
    [result] = conducted(kernel, run, cell)
    # Its own jitter buffer waits for 50 ms at least, so that the delay may be beyond 150 ms.
    assert result.record.verdict.label in ("good", "usable")
    assert result.record.set_up_s is not None
    assert 0.2 < result.record.set_up_s < 0.5
    for direction in run.frames(result).values():
        assert len(direction.sent_s) == pytest.approx(3 / 0.06, abs=1)
        assert len(direction.received) == len(direction.sent_s)
    assert likeness(run, result, "up") > 0.7  # the callee has not yet said anything
    again = Run(tmp_path / "again")
    again.begin(run.manifest(), "", fresh=False)
    [second] = conducted(kernel, again, cell)
    assert files_of(result) == files_of(second)


def test_without_its_server_a_call_is_not_signalled(kernel: Kernel, run: Run) -> None:
    cell = short_cell("telegram", "direct", "open", duration_s=1)
    nothing_passes = with_numbers(load_censor("loss-20"), ["all.probability"], 1.0)
    [result] = conducted(kernel, run, replace(cell, censor=nothing_passes))
    assert result.record.verdict.label == "no call"
    call = result.record.observation.call
    assert call.reason == "no signalling within 10 s"
    assert call.ended_s == pytest.approx(10, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["obfs4", "wireguard", "udp_over_tls"])
def test_any_transport_carries_the_real_engine(kernel: Kernel, run: Run, transport: str) -> None:
    cell = short_cell("telegram", "direct", RESTRICTED, duration_s=9)
    [result] = conducted(kernel, run, replace(cell, transport=TransportChoice(transport)))
    assert result.record.verdict.label in ("good", "usable")
    assert likeness(run, result, "up") > 0.7
    assert likeness(run, result, "down") > 0.7


@pytest.mark.slow
def test_with_udp_blocked_only_a_reflector_by_tcp_helps(kernel: Kernel, run: Run) -> None:
    blocked, by_tcp = conducted(
        kernel,
        run,
        short_cell("telegram", "direct", RESTRICTED, duration_s=4),
        short_cell("telegram-tcp", "direct", RESTRICTED, duration_s=4),
    )
    assert blocked.record.verdict.label == "no call"
    call = blocked.record.observation.call
    assert 10 <= call.ended_s < 10.1
    assert "no connection" in call.reason
    assert by_tcp.record.verdict.label in ("good", "usable")
    assert likeness(run, by_tcp, "up") > 0.7


@pytest.mark.slow
def test_what_is_lost_on_the_way_is_concealed_or_recovered(kernel: Kernel, run: Run) -> None:
    cell = short_cell("telegram", "direct", "open", duration_s=10)
    lossy = with_numbers(load_censor("loss-20"), ["all.probability"], 0.3)
    [result] = conducted(kernel, run, replace(cell, censor=lossy))
    for way, direction in run.frames(result).items():
        lost = 1 - len({index for index, _ in direction.received}) / len(direction.sent_s)
        assert 0.15 < lost < 0.45
        heard = result.record.measures[way]
        assert heard.output_concealed_share + heard.recovered_share == pytest.approx(lost, abs=0.1)
