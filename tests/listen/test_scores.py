"""Scores of sound: the right clips, kept beside the cell, and ViSQOL as it was measured before."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from random import Random
from statistics import fmean

import numpy as np
import pytest
from typer.testing import CliRunner

from testbed.audio.opus import (
    Decoder,
    OpusSettings,
    Speech,
    default_speech,
    encode,
    has_fec,
    repeated,
)
from testbed.call.conversation import Turn
from testbed.call.jitterbuffer.played import Playout, Slot
from testbed.cli.app import app
from testbed.listen.call_sound import CallSound, samples, sound_of
from testbed.listen.rendering import render
from testbed.listen.scores import (
    RATE_HZ,
    CellScores,
    Samples,
    ScoreError,
    Scorer,
    score_cell,
    score_cells,
    score_clips,
    scorers,
)
from testbed.record.results import SCORES, Run
from tests.marks import needs_speech

pytestmark = needs_speech
needs_visqol = pytest.mark.skipif(
    find_spec("visqol") is None or find_spec("ai_edge_litert") is None,
    reason="needs the extra [scores]: ./lab score, or ./lab test --slow, installs it",
)


def loudness(said: Samples, heard: Samples) -> float:
    return float(np.std(heard) / np.std(said))


LOUDNESS = Scorer("loudness", "loudness of the heard over the said (1)", loudness)


def loudness_of(found: CellScores) -> float:
    return found.directions["up"].means["loudness"]


def counting(asked: list[int], version: int) -> Scorer:
    """A model of loudness that notes how many samples were said of each clip it was asked about."""

    def count(said: Samples, heard: Samples) -> float:
        asked.append(len(said))
        return loudness(said, heard)

    return Scorer("loudness", f"version {version}", count)


def test_scores_are_kept_with_the_cell_and_not_computed_again(calls_run: Run) -> None:
    asked: list[int] = []
    model = counting(asked, version=1)
    lossy, clean, never = calls_run.cells()
    found = score_cell(calls_run, clean, [model])
    assert asked == [round(7.1 * RATE_HZ), round(2.7 * RATE_HZ)]
    assert found == score_cell(calls_run, clean, [model])
    assert len(asked) == 2
    score_cell(calls_run, clean, [counting(asked, version=2)])
    assert len(asked) == 4
    assert loudness_of(found) > loudness_of(score_cell(calls_run, lossy, [model]))
    silent = score_cell(calls_run, never, [model])
    assert silent.directions == {}
    assert silent.worse("loudness") is None


def test_a_clip_is_followed_to_where_the_buffer_put_it_and_says_what_it_lacks() -> None:
    speech = repeated(default_speech(), 30 * 16000)
    packets = encode(speech, OpusSettings(frame_ms=20, bitrate_bps=24_000), seconds=30)
    # The second ten seconds are late by 2 s of concealment, and half of the third is missing.
    order = [*range(500), *[None] * 100, *range(500, 1000)]
    order += [n if n % 2 else None for n in range(1000, 1500)]
    slots = tuple(Slot(5 + n * 0.02, 0.02, frame) for n, frame in enumerate(order))
    playout = Playout(slots, (0.1,) * sum(s.frame is not None for s in slots), 1500, 0.02)
    heard = render(playout, packets, 16000)
    asked: list[tuple[Samples, Samples]] = []

    def alike(said: Samples, clip: Samples) -> float:
        asked.append((said, clip))
        return 1.0

    clips = score_clips(
        CallSound((Turn("up", 0, 30),), {"up": speech}, {"up": playout}, {"up": heard}),
        "up",
        [Scorer("alike", "", alike)],
    )
    assert [clip.from_s for clip in clips] == [0, 10, 20]
    assert [clip.concealed_share for clip in clips] == pytest.approx([1 / 6, 0, 0.5], abs=0.002)
    said, clip = asked[1]
    assert len(said) == len(clip) == 10 * RATE_HZ
    assert float(said @ clip / np.sqrt((said @ said) * (clip @ clip))) > 0.7


def test_cells_are_scored_in_their_order_and_only_those_that_are_not_yet(calls_run: Run) -> None:
    asked: list[int] = []
    model = counting(asked, version=1)
    cells = [(calls_run, result) for result in calls_run.cells()]
    alone = [score_cell(*cell, [model]) for cell in cells[1:]]
    count_before = len(asked)
    assert list(score_cells(cells, [model]))[1:] == alone
    assert len(asked) == count_before + 2  # of the one that was missing


def test_what_the_end_of_the_call_cut_off_is_not_scored(calls_run: Run) -> None:
    sound = sound_of(calls_run, calls_run.cells()[1])
    turns = [Turn("up", at_s, at_s + 4) for at_s in (0, 5, 8)]
    said = {"up": repeated(sound.said["up"], 40 * 16000)}
    longer = CallSound(turns, said, sound.playouts, sound.heard)
    assert [clip.from_s for clip in score_clips(longer, "up", [LOUDNESS])] == [0, 5]


@pytest.mark.parametrize("lacking", ["visqol", "ai_edge_litert", "ai_edge_litert.interpreter"])
@pytest.mark.filterwarnings("default")
def test_visqol_without_its_lattice_is_an_error(
    lacking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, lacking, None)
    with pytest.raises(ScoreError, match=r"\./lab score installs it"):
        scorers()


# ViSQOL on our own decoded audio, against what was measured before with libopus 1.3.1 at 24 kbit/s
# and its concealment. What a call sounds like is concealed as by NetEq, which keeps the order of
# things; how good that is, is held against real engines by `testbed validate-calls`.

MEASURED = {
    ("random", 0.05): 4.05,
    ("random", 0.1): 3.89,
    ("random", 0.2): 3.45,
    ("random", 0.3): 2.88,
    ("bursts", 0.05): 3.94,
    ("bursts", 0.1): 3.33,
    ("bursts", 0.2): 2.72,
    ("random with FEC", 0.0): 3.79,
    ("random with FEC", 0.3): 3.26,
}
SEEDS = range(5)
SECONDS = 24
Decoded = Callable[[tuple[Slot, ...], list[bytes]], Speech]


def played(lost: set[int], packets: list[bytes]) -> tuple[Slot, ...]:
    """Each lost frame is concealed in its place, or taken from FEC."""
    slots = []
    for number in range(len(packets)):
        follower = number + 1
        is_saved = follower < len(packets) and follower not in lost and has_fec(packets[follower])
        is_recovered = number in lost and is_saved
        frame = number if number not in lost or is_recovered else None
        slots.append(Slot(number * 0.02, 0.02, frame, is_recovered))
    return tuple(slots)


def by_libopus(slots: tuple[Slot, ...], packets: list[bytes]) -> Speech:
    """What is heard if libopus conceals, which is told of gaps."""
    decoder = Decoder(rate_hz=RATE_HZ, frame_ms=20)
    pcm = b""
    for slot in slots:
        if slot.frame is None:
            pcm += decoder.conceal(RATE_HZ // 50)
        elif slot.is_recovered:
            pcm += decoder.recover(packets[slot.frame + 1])
        else:
            pcm += decoder.play(packets[slot.frame])
    return Speech(pcm, RATE_HZ)


def by_neteq(slots: tuple[Slot, ...], packets: list[bytes]) -> Speech:
    """What is heard of a call."""
    count = sum(slot.frame is not None for slot in slots)
    return render(Playout(slots, (0.1,) * count, len(packets), 0.02), packets, RATE_HZ)


def pattern(kind: str, share: float, seed: int, count: int) -> set[int]:
    rng = Random(seed)
    if kind != "bursts":
        return {n for n in range(count) if rng.random() < share}
    # Bursts of 4, begun so often that this share is lost.
    begins = [n for n in range(count) if rng.random() < share / 4 / (1 - share + share / 4)]
    return {n for begin in begins for n in range(begin, min(begin + 4, count))}


@pytest.mark.slow
@needs_visqol
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("decoded", [by_libopus, by_neteq])
def test_visqol_reads_our_sound_as_it_was_measured(decoded: Decoded) -> None:
    visqol = scorers()[0].score
    speech = repeated(default_speech(), SECONDS * RATE_HZ)
    said = samples(speech) / 32768

    def coded(*, fec: bool) -> list[bytes]:
        loss = 20 if fec else 0
        return encode(
            speech,
            OpusSettings(frame_ms=20, bitrate_bps=24_000, fec=fec, expected_loss_percent=loss),
            seconds=SECONDS,
        )

    packets = {False: coded(fec=False), True: coded(fec=True)}

    def score(kind: str, share: float) -> float:
        sent = packets[kind.endswith("FEC")]
        lost = {frozenset(pattern(kind, share, seed, len(sent))) for seed in SEEDS}
        heard = (decoded(played(set(gone), sent), sent) for gone in lost)
        return fmean(visqol(said, samples(sound) / 32768) for sound in heard)

    clean = score("random", 0.0)
    means = {key: score(*key) for key in MEASURED}
    print({key: round(mean, 2) for key, mean in means.items()}, round(clean, 2))
    assert clean >= 4.1
    for kind in ("random", "bursts"):
        falling = [clean, *(mean for (k, _), mean in means.items() if k == kind)]
        assert falling == sorted(falling, reverse=True)
    for share in (0.05, 0.1, 0.2):
        assert means["random", share] > means["bursts", share]
    # FEC costs quality where nothing is lost, and pays where much is.
    assert means["random with FEC", 0.0] < clean
    assert means["random with FEC", 0.3] > means["random", 0.3]
    if decoded is by_libopus:
        for key, mean in means.items():
            assert mean == pytest.approx(MEASURED[key], abs=0.45), key


@pytest.mark.slow
@needs_visqol
@pytest.mark.filterwarnings("default")
def test_a_run_is_scored_and_the_table_fits(calls_run: Run) -> None:
    done = CliRunner().invoke(app, ["score", str(calls_run.folder)])
    assert done.exit_code == 0, done.output
    assert all(len(line) <= 100 for line in done.output.splitlines())
    assert "3 calls, 30 s together, were scored in " in done.output
    models = scorers()
    scores = [score_cell(calls_run, cell, models) for cell in calls_run.cells()]
    lossy, clean, never = (found.worse("visqol") for found in scores)
    assert clean is not None
    assert lossy is not None
    assert clean > 3.8
    assert lossy < 3.4
    assert never is None
    for result in calls_run.cells():
        alone = score_cell(calls_run, result, scorers())
        (result.folder / SCORES).unlink()
        assert score_cell(calls_run, result, scorers()) == alone  # as other processes found
