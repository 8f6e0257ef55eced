"""Makes a record of what a guest observed: playout, scores, verdict. Reads and writes no files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from testbed.audio.opus import has_fec
from testbed.call.conversation import PAUSE_S, Turn, response_times_s, spoken
from testbed.call.jitterbuffer.playout import Arrival, Playout, play
from testbed.call.messenger import Codec, PlayoutOptions
from testbed.call.quality.measures import measure
from testbed.call.quality.symptoms import silences, symptoms
from testbed.call.quality.verdict import (
    CallQuality,
    Drop,
    SetUp,
    SetUpOutcome,
    judge_call,
    judge_direction,
)
from testbed.experiment.cell import Cell
from testbed.record.cell_record import (
    DIRECTIONS,
    CellRecord,
    ChatSummary,
    Conversation,
    TrafficSummary,
)
from testbed.record.observation import (
    ChatRecord,
    DirectionRecord,
    Observation,
    TrafficRecord,
)


def judge(
    cell: Cell,
    observation: Observation,
    frames: Mapping[str, DirectionRecord],
    turns: Sequence[Turn],
    packets: Mapping[str, Sequence[bytes]] | None = None,
) -> CellRecord:
    """Judge a conducted cell.

    `turns` say who spoke when. `packets` are by direction the encoded frames that were sent; they
    are needed if the codec uses FEC or DTX.
    """
    playouts = _playouts(cell.messenger, observation, frames, packets or {})
    speech = {
        name: spoken(playout, [turn for turn in turns if turn.way == name])
        for name, playout in playouts.items()
    }
    waits = response_times_s(turns, playouts)
    return CellRecord(
        messenger=cell.messenger.name,
        messenger_title=cell.messenger.title,
        transport=str(cell.transport),
        censor=cell.censor.name,
        links=cell.links.name,
        topology=cell.topology if cell.compares_topologies else "",
        seed=cell.seed,
        duration_s=cell.duration_s,
        quality=_quality(observation, playouts, speech),
        measures={name: measure(playouts[name], speech[name]) for name in playouts},
        silences={name: tuple(silences(playouts[name])) for name in playouts},
        conversation=Conversation(
            cell.said,
            PAUSE_S,
            tuple(turns),
            {end: round(median(w), 6) if w else None for end, w in waits.items()},
        ),
        chat=_chat(observation.chat),
        traffic={one.kind: _traffic(one) for one in observation.traffic},
        observation=observation,
    )


def _playouts(
    messenger: Messenger,
    observation: Observation,
    frames: Mapping[str, DirectionRecord],
    packets: Mapping[str, Sequence[bytes]],
) -> dict[str, Playout]:
    if observation.call.set_up_s is None:
        return {}
    codec, ended_s = messenger.codec, observation.call.ended_s
    return {
        name: playout_of(frames[name], codec, ended_s, packets.get(name, ()), messenger.playout)
        for name in DIRECTIONS
        if frames[name].sent_s
    }


def _quality(
    observation: Observation, playouts: Mapping[str, Playout], speech: Mapping[str, Playout]
) -> CallQuality:
    call = observation.call
    if call.set_up_s is not None:
        set_up = SetUp(SetUpOutcome.CONNECTED, call.set_up_s)
    elif observation.transport.connect_s is None:
        set_up = SetUp(SetUpOutcome.FAILED, call.ended_s)
    else:
        set_up = SetUp(SetUpOutcome.TIMED_OUT, call.ended_s)
    dropped = call.outcome == "dropped" and call.silent_s is not None
    drop = Drop(at_s=call.ended_s, silent_s=call.silent_s or 0.0) if dropped else None
    judged = {name: judge_direction(playouts[name], speech[name]) for name in playouts}
    up, down = playouts.get("up"), playouts.get("down")
    return judge_call(
        set_up,
        up=judged.get("up"),
        down=judged.get("down"),
        drop=drop,
        symptoms=symptoms(set_up, up=up, down=down, drop=drop, speech=speech),
    )


def playout_of(
    direction: DirectionRecord,
    codec: Codec,
    ended_s: float,
    packets: Sequence[bytes],
    options: PlayoutOptions = PlayoutOptions(),  # noqa: B008 - frozen
) -> Playout:
    """Play one direction of a call that ended at `ended_s`; times in seconds since dialling.

    `packets` are those that were sent; of a real engine, which encrypts its own, what its codec
    makes of the same speech stands for them.

    Raises:
        ValueError: The codec uses FEC or DTX, and there are no packets.
    """
    if (codec.fec or codec.dtx) and not packets:
        raise ValueError("a codec with FEC or DTX is judged by its packets, and none were given")
    found = packets if codec.fec else ()
    with_fec = {k for k, packet in enumerate(found) if packet and has_fec(packet)}
    return play(
        [
            Arrival(index, direction.sent_s[index], at, index in with_fec)
            for index, at in direction.received
        ],
        frame_count=len(direction.sent_s),
        frame_s=codec.frame_ms / 1000,
        first_sent_s=direction.sent_s[0],
        end_s=ended_s,
        unsent={k for k, packet in enumerate(packets) if not packet} if codec.dtx else (),
        min_delay_s=options.min_delay_ms / 1000,
        fast_accelerate=options.fast_accelerate,
    )


def _traffic(one: TrafficRecord) -> TrafficSummary:
    """Say whether other traffic was done, in what time, and with what goodput over all of that."""
    goodput_bps = None if one.took_s is None else round(8 * one.payload_bytes / one.took_s)
    return TrafficSummary(one.took_s is not None, one.took_s, goodput_bps)


def _chat(chat: ChatRecord) -> ChatSummary:
    delays = [
        back - sent
        for sent, back in zip(chat.sent_s, chat.acknowledged_s, strict=True)
        if back is not None
    ]
    return ChatSummary(
        sent=len(chat.sent_s),
        delivered=len(delays),
        median_s=round(median(delays), 9) if delays else None,
        longest_s=round(max(delays), 9) if delays else None,
    )
