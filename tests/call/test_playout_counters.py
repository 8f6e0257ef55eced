"""What a browser counted, as the figures of its direction."""

from __future__ import annotations

import pytest

from testbed.call.conversation import Turn
from testbed.call.jitterbuffer.playout import LOOKAHEAD_S, Arrival
from testbed.call.playout_counters import counted

FRAME_S, STEP_S, RATE = 0.02, 0.25, 48_000
TRANSIT_S, BUFFER_S = 0.03, 0.05
DELAY_S = FRAME_S + LOOKAHEAD_S + TRANSIT_S + BUFFER_S


def reports(concealed_shares: list[float]) -> list[dict[str, float]]:
    """Reports each quarter of a second, from 100 s on the browser's clock."""
    found = [{"at": 100.0, "concealed": 480.0, "total": 48_000.0}]
    found[0] |= {"jitterBufferDelay": 9.0, "emitted": 1000.0}
    for share in concealed_shares:
        last, samples = found[-1], STEP_S * RATE
        found.append(
            {
                "at": last["at"] + STEP_S,
                "concealed": last["concealed"] + share * samples,
                "total": last["total"] + samples,
                "emitted": last["emitted"] + (1 - share) * samples,
                "jitterBufferDelay": last["jitterBufferDelay"] + (1 - share) * samples * BUFFER_S,
            }
        )
    return found


def arrivals(seconds: float) -> list[Arrival]:
    count = round(seconds / FRAME_S)
    return [Arrival(k, 2 + k * FRAME_S, 2 + k * FRAME_S + TRANSIT_S) for k in range(count)]


def test_share_delay_and_gap_are_those_that_were_counted() -> None:
    shares = [0.0, 0.1, 0.2, 0.1] * 10
    figures = counted(reports(shares), 2.0, arrivals(10), [Turn("up", 0.0, 10.0)], FRAME_S)
    assert figures is not None
    assert figures.concealed_share == pytest.approx(0.1, abs=0.005)
    assert figures.mouth_to_ear_median_s == pytest.approx(DELAY_S)
    assert figures.mouth_to_ear_p95_s == pytest.approx(DELAY_S)
    assert figures.longest_gap_s == pytest.approx(0.2 * STEP_S)


def test_what_is_concealed_while_nobody_speaks_is_not_missed() -> None:
    shares = [0.0] * 20 + [0.8] * 20
    turns = [Turn("up", 0.0, 4.5)]
    figures = counted(reports(shares), 2.0, arrivals(10), turns, FRAME_S)
    assert figures is not None
    assert figures.concealed_share == 0
    everything = counted(reports(shares), 2.0, arrivals(10), [], FRAME_S)
    assert everything is not None
    assert everything.concealed_share == pytest.approx(0.4)


def test_intervals_that_are_wholly_concealed_are_one_gap() -> None:
    shares = [0.0] * 8 + [1.0] * 12 + [0.0] * 8 + [1.0] * 2
    figures = counted(reports(shares), 2.0, arrivals(8), [Turn("up", 0.0, 8.0)], FRAME_S)
    assert figures is not None
    assert figures.longest_gap_s == pytest.approx(12 * STEP_S)


@pytest.mark.parametrize("known", [[], [{}, {}], reports([])])
def test_without_two_reports_nothing_is_known(known: list[dict[str, float]]) -> None:
    assert counted(known, 2.0, arrivals(5), [], FRAME_S) is None


def test_reports_before_the_first_sound_are_left_out() -> None:
    late = [{"at": 99.0}, *reports([0.1] * 8)]
    figures = counted(late, 2.0, arrivals(2), [], FRAME_S)
    assert figures is not None
    assert figures.concealed_share == pytest.approx(0.1)
