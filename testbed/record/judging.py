"""Makes of a conducted cell's record what came of its call: playout, scores, verdict; no files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from statistics import median
from typing import Any

from testbed.audio.opus import has_fec
from testbed.call.conversation import LISTENERS, PAUSE_S, Turn, response_times_s, spoken
from testbed.call.counters import counted
from testbed.call.jitterbuffer.playout import Arrival, Playout, play
from testbed.call.messenger import Codec
from testbed.call.quality.measures import measure
from testbed.call.quality.symptoms import symptoms
from testbed.call.quality.verdict import (
    CallQuality,
    DirectionQuality,
    Drop,
    Figures,
    SetUp,
    SetUpOutcome,
    figures_of,
    judge_call,
    judge_direction,
    judge_figures,
)
from testbed.experiment.cell import Cell
from testbed.record.cell_record import DirectionRecord
from testbed.record.results import SCHEMA


def judge(
    cell: Cell,
    record: Mapping[str, Any],
    frames: Mapping[str, DirectionRecord],
    turns: Sequence[Turn],
    packets: Mapping[str, Sequence[bytes]] | None = None,
    listened: Mapping[str, Playout] | None = None,
) -> dict[str, Any]:
    """Turn a conducted cell's record into the content of `cell.json`.

    `turns` say who spoke when. `packets` are by direction the encoded frames that were sent; they
    are needed if the codec uses FEC. `listened` is by direction what a real engine played, as its
    sound tells (`testbed.call.listening`). What the engine itself played or counted decides, if
    that is known; our playout's figures stand beside it.
    """
    call = record["call"]
    playouts: dict[str, Playout] = {}
    if call["set_up_s"] is not None:
        codec, ended_s = cell.messenger.codec, call["ended_s"]
        playouts = {
            name: playout_of(frames[name], codec, ended_s, (packets or {}).get(name, ()))
            for name in ("up", "down")
            if frames[name].sent_s
        }
        set_up = SetUp(SetUpOutcome.CONNECTED, call["set_up_s"])
    elif record["transport_connect_s"] is None:
        set_up = SetUp(SetUpOutcome.FAILED, call["ended_s"])
    else:
        set_up = SetUp(SetUpOutcome.TIMED_OUT, call["ended_s"])
    dropped = call["outcome"] == "dropped"
    drop = Drop(at_s=call["ended_s"], silent_s=call["silent_s"]) if dropped else None
    own = {way: playout for way, playout in (listened or {}).items() if way in playouts}
    heard = playouts | own
    speech = _speech(heard, turns)
    of_playout = {
        way: judge_direction(playouts[way], part) for way, part in _speech(playouts, turns).items()
    }
    judged = {
        **of_playout,
        **_by_counters(cell, record, frames, turns, playouts),
        **{
            way: judge_figures(figures_of(own[way], speech[way]), decided_by="sound") for way in own
        },
    }
    up, down = heard.get("up"), heard.get("down")
    quality = judge_call(
        set_up,
        up=judged.get("up"),
        down=judged.get("down"),
        drop=drop,
        symptoms=symptoms(set_up, up=up, down=down, drop=drop, speech=speech),
    )
    return {
        "schema": SCHEMA,
        "messenger": {"name": cell.messenger.name, "title": cell.messenger.title},
        "transport": str(cell.transport),
        "censor": cell.censor.name,
        **({"links": cell.links.name} if cell.links.name else {}),
        **({"topology": cell.topology} if cell.compares_topologies else {}),
        "seed": cell.seed,
        "duration_s": cell.duration_s,
        "quality": _quality_as_json(quality, heard, speech),
        "by_playout": {way: _figures_as_json(of_playout[way], playouts[way]) for way in playouts},
        "conversation": _conversation(cell, turns, heard),
        "chat": _chat(record["chat"]),
        "traffic": {one["kind"]: _traffic(one) for one in record.get("traffic", ())},
        "record": record,
    }


def playout_of(
    direction: DirectionRecord, codec: Codec, ended_s: float, packets: Sequence[bytes]
) -> Playout:
    """Play one direction of a call that ended at `ended_s`; times in seconds since dialling.

    `packets` are those that were sent; of a real engine, which encrypts its own, what its codec
    makes of the same speech stands for them. ValueError: the codec uses FEC, and there are none.
    """
    return play(
        arrivals_of(direction, codec, packets),
        frame_count=len(direction.sent_s),
        frame_s=codec.frame_ms / 1000,
        first_sent_s=direction.sent_s[0],
        end_s=ended_s,
        unsent={k for k, packet in enumerate(packets) if not packet} if codec.dtx else (),
    )


def arrivals_of(
    direction: DirectionRecord, codec: Codec, packets: Sequence[bytes]
) -> list[Arrival]:
    """Return what arrived of one direction. ValueError: as for `playout_of`."""
    if (codec.fec or codec.dtx) and not packets:
        raise ValueError("a codec with FEC or DTX is judged by its packets, and none were given")
    found = packets if codec.fec else ()
    with_fec = {k for k, packet in enumerate(found) if packet and has_fec(packet)}
    return [
        Arrival(index, direction.sent_s[index], at, index in with_fec)
        for index, at in direction.received
    ]


def _speech(playouts: Mapping[str, Playout], turns: Sequence[Turn]) -> dict[str, Playout]:
    """Return the part of each direction in which its speaker spoke."""
    return {
        way: spoken(playout, [turn for turn in turns if turn.way == way])
        for way, playout in playouts.items()
    }


def _by_sound(heard: Playout, speech: Playout) -> DirectionQuality:
    """Judge a direction by what was found in its sound; delays are those of speech alone."""
    figures = replace(figures_of(speech), longest_gap_s=figures_of(heard).longest_gap_s)
    return judge_figures(figures, decided_by="sound")


def _by_counters(
    cell: Cell,
    record: Mapping[str, Any],
    frames: Mapping[str, DirectionRecord],
    turns: Sequence[Turn],
    ways: Iterable[str],
) -> dict[str, DirectionQuality]:
    """Judge the directions whose listeners counted what they played."""
    call, codec = record["call"], replace(cell.messenger.codec, fec=False, dtx=False)
    found = {}
    for way in ways:
        figures = counted(
            call.get("reports", {}).get(LISTENERS[way], ()),
            call.get("heard_from_s") or 0.0,
            arrivals_of(frames[way], codec, ()),
            [turn for turn in turns if turn.way == way],
            codec.frame_ms / 1000,
        )
        if figures is not None:
            found[way] = judge_figures(figures, decided_by="counters")
    return found


def _figures_as_json(quality: DirectionQuality, playout: Playout) -> dict[str, Any]:
    """Return what our playout has of a direction, whoever decided."""
    figures = {f.name: getattr(quality, f.name) for f in fields(Figures)}
    share = round(playout.concealed_share, 6)
    verdict = quality.verdict.label
    return {**figures, "output_concealed_share": share, "verdict": verdict}


def _quality_as_json(
    quality: CallQuality, playouts: Mapping[str, Playout], speech: Mapping[str, Playout]
) -> dict[str, Any]:
    content = asdict(quality)
    content["set_up"]["outcome"] = quality.set_up.outcome.value
    content["verdict"] = quality.verdict.label
    content["summary"] = quality.summary
    content["symptoms"] = [str(symptom) for symptom in quality.symptoms]
    for name, direction in (("up", quality.up), ("down", quality.down)):
        if direction is not None:
            content[name]["verdict"] = direction.verdict.label
            content[name] |= asdict(measure(playouts[name], speech[name]))
    return content


def _conversation(
    cell: Cell, turns: Sequence[Turn], playouts: Mapping[str, Playout]
) -> dict[str, Any]:
    """What was said when, and how long each end waited for answers, as for JSON."""
    waits = response_times_s(turns, playouts)
    return {
        "said": cell.said,
        "pause_s": PAUSE_S,
        "turns": [list(turn) for turn in turns],
        "response_s": {end: round(median(w), 6) if w else None for end, w in waits.items()},
    }


def _traffic(one: Mapping[str, Any]) -> dict[str, Any]:
    """Whether other traffic was done, in what time, and with what goodput over all of that."""
    took_s = one["took_s"]
    goodput_bps = None if took_s is None else round(8 * one["payload_bytes"] / took_s)
    return {"done": took_s is not None, "took_s": took_s, "goodput_bps": goodput_bps}


def _chat(chat: Mapping[str, Any]) -> dict[str, Any]:
    delays = [
        back - sent
        for sent, back in zip(chat["sent_s"], chat["acknowledged_s"], strict=True)
        if back is not None
    ]
    return {
        "sent": len(chat["sent_s"]),
        "delivered": len(delays),
        "median_s": round(median(delays), 9) if delays else None,
        "longest_s": round(max(delays), 9) if delays else None,
    }
