"""Lives here: traces of frames for tests of the playout, and what is played of them; no test."""

from collections.abc import Callable, Collection, Iterable

from testbed.call.jitterbuffer.played import Playout
from testbed.call.jitterbuffer.playout import Arrival, play

FRAME_S = 0.02
COUNT = 500
CODEC_S = FRAME_S + 0.0065  # one frame's length and the encoder's look-ahead
FOREVER_S = 1e6


def sent(
    frames: Iterable[int],
    delay_s: float | Callable[[int], float] = 0.04,
    frame_s: float = FRAME_S,
    *,
    has_fec: bool = False,
) -> list[Arrival]:
    """Arrivals of frames sent one per frame length, each after its delay."""
    return [
        Arrival(
            index=index,
            sent_s=index * frame_s,
            received_s=index * frame_s + (delay_s(index) if callable(delay_s) else delay_s),
            has_fec=has_fec,
        )
        for index in frames
    ]


def heard(
    arrivals: list[Arrival],
    frame_count: int = COUNT,
    *,
    end_s: float = FOREVER_S,
    frame_s: float = FRAME_S,
) -> Playout:
    return play(arrivals, frame_count=frame_count, frame_s=frame_s, first_sent_s=0.0, end_s=end_s)


def heard_without(
    lost: Collection[int] = (),
    count: int = COUNT,
    *,
    delay_s: float = 0.04,
    at_s: float = 0.0,
    end_s: float = FOREVER_S,
) -> Playout:
    """What is played of frames that all take the same time but for those that are lost."""
    arrivals = [
        Arrival(index, at_s + index * FRAME_S, at_s + index * FRAME_S + delay_s)
        for index in range(count)
        if index not in lost
    ]
    return play(arrivals, frame_count=count, frame_s=FRAME_S, first_sent_s=at_s, end_s=end_s)


def played(playout: Playout) -> list[int]:
    return [slot.frame for slot in playout.slots if slot.frame is not None]


def stalled(begin: int, stall_s: float) -> Callable[[int], float]:
    """The delay of each frame if from frame `begin` on, nothing moves for `stall_s`."""

    def delay_s(index: int) -> float:
        return 0.04 + (max(stall_s - (index - begin) * FRAME_S, 0.0) if index >= begin else 0.0)

    return delay_s
