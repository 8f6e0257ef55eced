"""Judge a call: turn what a guest observed into a `CellRecord`, without any file access.

The frames that arrived are played through our own jitter buffer, and the quality of what was heard
during the speaker's turns is scored. Where it is known what a real engine played (from its sound)
or counted (from its own statistics), that decides the verdict instead, and our playout's figures
are kept in the record for comparison.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median

from testbed.audio.opus import has_fec
from testbed.call.conversation import LISTENERS, PAUSE_S, Turn, response_times_s, spoken
from testbed.call.jitterbuffer.played import Playout
from testbed.call.jitterbuffer.playout import Arrival, play
from testbed.call.messenger import Codec, Messenger, PlayoutOptions
from testbed.call.playout_counters import counted
from testbed.call.quality.measures import measure
from testbed.call.quality.symptoms import silences, symptoms
from testbed.call.quality.verdict import (
    CallQuality,
    DirectionQuality,
    Drop,
    SetUp,
    SetUpOutcome,
    figures_of,
    judge_call,
    judge_direction,
    judge_figures,
)
from testbed.experiment.cell import Cell
from testbed.record.cell_record import (
    DIRECTIONS,
    CellRecord,
    ChatSummary,
    Conversation,
    PlayoutFigures,
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
    listened: Mapping[str, Playout] | None = None,
) -> CellRecord:
    """Return the record of a conducted cell.

    `turns` state who spoke when. `packets` are, by direction, the encoded frames that were sent;
    they are needed if the codec uses FEC or DTX. `listened` is, by direction, what a real engine
    played, as determined from its sound (`testbed.call.listening`). If it is known what the engine
    itself played or counted, that decides; our playout's figures are recorded as well.
    """
    playouts = _playouts(cell.messenger, observation, frames, packets or {})
    own = {name: heard for name, heard in (listened or {}).items() if name in playouts}
    heard = playouts | own
    speech = _speech(heard, turns)
    of_playout = {
        name: judge_direction(playouts[name], part)
        for name, part in _speech(playouts, turns).items()
    }
    judged = of_playout | _by_counters(cell.messenger.codec, observation, frames, turns, playouts)
    for name, playout in own.items():
        figures = figures_of(playout, speech[name])
        judged[name] = judge_figures(figures, decided_by="sound")
    waits = response_times_s(turns, heard)
    return CellRecord(
        messenger=cell.messenger.name,
        messenger_title=cell.messenger.title,
        transport=str(cell.transport),
        censor=cell.censor.name,
        links=cell.links.name,
        topology=cell.topology if cell.compares_topologies else "",
        seed=cell.seed,
        duration_s=cell.duration_s,
        quality=_quality(observation, judged, heard, speech),
        measures={name: measure(heard[name], speech[name]) for name in heard},
        by_playout={
            name: PlayoutFigures(
                figures_of(playouts[name], part),
                round(playouts[name].concealed_share, 6),
                of_playout[name].verdict,
            )
            for name, part in _speech(playouts, turns).items()
        },
        silences={name: tuple(silences(heard[name])) for name in heard},
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


def _speech(playouts: Mapping[str, Playout], turns: Sequence[Turn]) -> dict[str, Playout]:
    """Return the part of each direction's playout during which its speaker spoke."""
    return {
        name: spoken(playout, [turn for turn in turns if turn.way == name])
        for name, playout in playouts.items()
    }


def _by_counters(
    codec: Codec,
    observation: Observation,
    frames: Mapping[str, DirectionRecord],
    turns: Sequence[Turn],
    connected: Mapping[str, Playout],
) -> dict[str, DirectionQuality]:
    """Return the quality of the directions whose listeners counted what they played."""
    call, plain = observation.call, replace(codec, fec=False, dtx=False)
    found = {}
    for name in connected:
        figures = counted(
            call.reports.get(LISTENERS[name], ()),
            call.heard_from_s or 0.0,
            arrivals_of(frames[name], plain, ()),
            [turn for turn in turns if turn.way == name],
            codec.frame_ms / 1000,
        )
        if figures is not None:
            found[name] = judge_figures(figures, decided_by="counters")
    return found


def _quality(
    observation: Observation,
    judged: Mapping[str, DirectionQuality],
    heard: Mapping[str, Playout],
    speech: Mapping[str, Playout],
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
    up, down = heard.get("up"), heard.get("down")
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
    """Return the playout of one direction of a call that ended at `ended_s` (s since dialling).

    `packets` are those that were sent. A real engine encrypts its packets, so for these the same
    speech encoded with the engine's codec is used instead.

    Raises:
        ValueError: The codec uses FEC or DTX, and there are no packets.
    """
    return play(
        arrivals_of(direction, codec, packets),
        frame_count=len(direction.sent_s),
        frame_s=codec.frame_ms / 1000,
        first_sent_s=direction.sent_s[0],
        end_s=ended_s,
        unsent={k for k, packet in enumerate(packets) if not packet} if codec.dtx else (),
        options=options,
    )


def arrivals_of(
    direction: DirectionRecord, codec: Codec, packets: Sequence[bytes]
) -> list[Arrival]:
    """Return the frames of one direction that arrived, each with the packet that was sent.

    Raises:
        ValueError: The codec uses FEC or DTX, and there are no packets.
    """
    if (codec.fec or codec.dtx) and not packets:
        raise ValueError("a codec with FEC or DTX is judged by its packets, but none were given")
    found = packets if codec.fec else ()
    with_fec = {k for k, packet in enumerate(found) if packet and has_fec(packet)}
    return [
        Arrival(index, direction.sent_s[index], at, index in with_fec)
        for index, at in direction.received
    ]


def _traffic(one: TrafficRecord) -> TrafficSummary:
    """Summarise a transfer: whether it finished, how long it took, and its goodput."""
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
