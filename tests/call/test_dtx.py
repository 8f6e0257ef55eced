"""What is not sent because nobody speaks is no loss: by the codec, the playout and the ear."""

from __future__ import annotations

from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.audio.opus import SPEECH_FOLDER, OpusSettings, default_clips, encode
from testbed.call.conversation import conversation
from testbed.call.jitterbuffer.playout import Arrival, play
from testbed.listen.call_sound import samples
from testbed.listen.rendering import render

FRAME_S = 0.02
COUNT = 150


def arrivals(frames: set[int], delay_s: float = 0.05) -> list[Arrival]:
    return [Arrival(k, k * FRAME_S, k * FRAME_S + delay_s) for k in sorted(frames)]


@given(
    unsent=st.sets(st.integers(1, COUNT - 1)),
    lost=st.sets(st.integers(1, COUNT - 1)),
)
def test_only_frames_that_were_sent_are_concealed(unsent: set[int], lost: set[int]) -> None:
    came = set(range(COUNT)) - unsent - lost
    playout = play(
        arrivals(came),
        frame_count=COUNT,
        frame_s=FRAME_S,
        first_sent_s=0.0,
        end_s=60.0,
        unsent=unsent,
    )
    missing = len(lost - unsent)
    comfort_s = sum(slot.duration_s for slot in playout.slots if slot.is_comfort)
    assert [s.frame for s in playout.slots if s.frame is not None] == sorted(came)
    # A receiver that misses a frame cannot know that none was sent after it.
    assert playout.concealed_s <= (missing + len(unsent)) * FRAME_S
    if not missing:
        assert playout.concealed_s == 0
        assert playout.gaps == ()
        assert comfort_s == pytest.approx(len(unsent) * FRAME_S)
        assert playout.concealed_share == 0


@pytest.mark.skipif(not SPEECH_FOLDER.is_dir(), reason="needs the package pocketsphinx-testdata")
def test_dtx_sends_a_listener_s_room_seldom_and_it_is_heard_without_a_gap() -> None:
    seconds = 20.0
    said = conversation(default_clips(), seconds).said["up"]  # speaks until 7.1 s, and 10.5 to 15.8
    frames = encode(said, OpusSettings(frame_ms=20, bitrate_bps=24_000, dtx=True), seconds=seconds)
    unsent = {k for k, frame in enumerate(frames) if not frame}
    assert len(frames) == seconds / FRAME_S
    assert all(k * FRAME_S > 7.1 for k in unsent)
    assert sum(10.5 < k * FRAME_S < 15.8 for k in unsent) < 20  # a reader's own pauses
    runs = [len(list(run)) for is_unsent, run in groupby(frames, lambda f: not f) if is_unsent]
    assert max(runs) == 19  # a frame each 400 ms
    assert sum(runs) > 0.8 * (3 + 4) / FRAME_S
    came = set(range(len(frames))) - unsent
    playout = play(
        arrivals(came),
        frame_count=len(frames),
        frame_s=FRAME_S,
        first_sent_s=0.0,
        end_s=60.0,
        unsent=unsent,
    )
    assert playout.concealed_share == 0
    heard = render(playout, frames, said.rate_hz)
    assert heard.duration_s == pytest.approx(seconds, abs=0.1)  # a buffer that shrinks plays faster
    room, speech = (
        abs(samples(heard)[16000 * a : 16000 * b].astype(int)).mean() for a, b in ((17, 20), (2, 5))
    )
    assert 0 < room < speech / 5
