"""What is written down of one cell, as data; judging it lives elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Outcome = Literal["completed", "dropped", "no set-up"]
_BUFFER_BYTES = 1 << 18
"""A file of frames is one or two writes: each costs a guest a system call."""


@dataclass
class DirectionRecord:
    """The frames of one direction; times in seconds since dialling."""

    sent_s: list[float] = field(default_factory=list)
    """By frame index: when it left the sender."""
    received: list[tuple[int, float]] = field(default_factory=list)
    """Frame index and time, as they arrived; a duplicate stands twice."""
    said_before: int = 0
    """How many frames a real engine had said before the first of these: it begins on its own."""
    variants: list[int] = field(default_factory=list)
    """By frame index: how it was encoded (`testbed.call.adaptation`); empty: there is one way."""


@dataclass
class CallRecord:
    """One call; times in seconds since dialling."""

    outcome: Outcome = "no set-up"
    reason: str = ""
    """Why it was not completed."""
    set_up_s: float | None = None
    """When both ends were connected."""
    ended_s: float = 0.0
    """When it was over: hung up, dropped, or given up."""
    silent_s: float | None = None
    """If it was dropped: for how long an end had heard nothing."""
    states: list[tuple[float, str, str]] = field(default_factory=list)
    """Of a real engine's connections: when, which end, what it said."""
    heard_from_s: float | None = None
    """When the sound in the cell's files begins, if a real engine played any."""
    reports: dict[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)
    """By end: what a real engine counted itself, each quarter of a second from the set-up on."""
    up: DirectionRecord = field(default_factory=DirectionRecord)
    down: DirectionRecord = field(default_factory=DirectionRecord)


@dataclass
class ChatRecord:
    """The messages beside a call; times in seconds since dialling."""

    server: str = ""
    """Address and port: by it the chat's flow is told from the transport's."""
    connected_s: float | None = None
    """How long TCP and TLS took; None: never."""
    sent_s: list[float] = field(default_factory=list)
    acknowledged_s: list[float | None] = field(default_factory=list)
    """By message: when the server's echo was back; None: never."""


@dataclass
class TrafficRecord:
    """One piece of other traffic."""

    kind: str
    began_s: float
    """Since dialling, once the cell has ended."""
    connected_s: float | None = None
    """How long TCP and TLS took; None: never."""
    took_s: float | None = None
    """From its beginning to the last byte; None: it was not done by the end of the call."""
    payload_bytes: int = 0
    """What was exchanged of it, both ways."""


@dataclass
class TransportRecord:
    """What carrying the call took; the counts are those of `testbed.lab.nodes.wire_count`."""

    connect_s: float | None = None
    """How long the transport took to connect; None: it could not."""
    reason: str = ""
    """Why it could not."""
    set_up: Mapping[str, int] = field(default_factory=dict)
    """Counted while it connected."""
    call: Mapping[str, int] = field(default_factory=dict)
    """Counted from then on to the end of the call."""


Event = tuple[float, str, str]
"""Something that a censor found or did: seconds since dialling, flow, what."""


@dataclass
class BoxRecord:
    """What one middlebox did."""

    packets_asked: int
    """How many packets its censor was asked about."""
    rules: Mapping[str, Mapping[str, int]]
    """By rule: packets matched and dropped."""
    events: Sequence[Event]


@dataclass
class CellRecord:
    """All that a conducted cell leaves behind."""

    transport: TransportRecord
    call: CallRecord
    chat: ChatRecord
    traffic: Sequence[TrafficRecord]
    boxes: Mapping[str, BoxRecord]
    """By the name of the middlebox, the caller's first."""
    virtual_s: float
    """From the start of the lab to its end."""

    @property
    def packets_asked(self) -> int:
        """How many packets the boxes' censors were asked about."""
        return sum(box.packets_asked for box in self.boxes.values())

    @property
    def rules(self) -> dict[str, dict[str, int]]:
        """By rule: packets matched and dropped, over all boxes."""
        total: dict[str, Counter[str]] = {}
        for box in self.boxes.values():
            for name, counters in box.rules.items():
                total.setdefault(name, Counter()).update(counters)
        return {name: dict(counters) for name, counters in total.items()}

    @property
    def events(self) -> list[Event]:
        """All boxes' events by time; of several, a flow's name begins with its box's."""
        several = len(self.boxes) > 1
        found = [
            (at, f"{name}: {flow}" if several else flow, what)
            for name, box in self.boxes.items()
            for at, flow, what in box.events
        ]
        return sorted(found, key=lambda event: event[0])


def write_frames(call: CallRecord, path: Path) -> None:
    """Write one line a frame: direction, index, sent and received in ns since dialling.

    A frame that never arrived has no time of arrival; one that came twice stands twice. If the
    senders adapt, a fifth column has the number of the frame's encoding.
    """
    adapts = bool(call.up.variants or call.down.variants)
    with path.open("w", buffering=_BUFFER_BYTES) as lines:
        lines.write("direction,index,sent_ns,received_ns" + ",variant" * adapts + "\n")
        for name, direction in (("up", call.up), ("down", call.down)):
            arrived: dict[int, list[float]] = {}
            for index, at in direction.received:
                arrived.setdefault(index, []).append(at)
            for index, sent in enumerate(direction.sent_s):
                times = [str(round(at * 1e9)) for at in arrived.get(index, ())] or [""]
                variant = f",{direction.variants[index]}" if adapts else ""
                for received in times:
                    lines.write(f"{name},{index},{round(sent * 1e9)},{received}{variant}\n")


def write_events(events: Sequence[Event], path: Path) -> None:
    """Write what the censor found and did, for people: seconds since dialling, flow, what."""
    width = max((len(flow) for _, flow, _ in events), default=0)
    lines = [f"{at:12.6f} s  {flow:<{width}}  {what}\n" for at, flow, what in events]
    path.write_text("".join(lines))


def read_frames(path: Path) -> dict[str, DirectionRecord]:
    """Read what `write_frames` wrote, by direction. ValueError: it is something else."""
    directions = {"up": DirectionRecord(), "down": DirectionRecord()}
    with path.open() as lines:
        next(lines)
        for line in lines:
            name, index, sent, received, *variant = line.rstrip("\n").split(",")
            direction = directions[name]
            if int(index) == len(direction.sent_s):
                direction.sent_s.append(int(sent) / 1e9)
                direction.variants += map(int, variant)
            if received:
                direction.received.append((int(index), int(received) / 1e9))
    for direction in directions.values():
        direction.received.sort(key=lambda arrival: arrival[1])
    return directions


def as_json(record: CellRecord) -> dict[str, Any]:
    """Give the record without the frames, for JSON; seconds rounded to nanoseconds."""
    call = record.call
    return {
        "transport_connect_s": _rounded(record.transport.connect_s),
        "transport": {"set_up": record.transport.set_up, "call": record.transport.call},
        "call": {
            "outcome": call.outcome,
            "reason": call.reason,
            "set_up_s": _rounded(call.set_up_s),
            "ended_s": _rounded(call.ended_s),
            "silent_s": _rounded(call.silent_s),
            "states": [[_rounded(at), end, state] for at, end, state in call.states],
            "heard_from_s": _rounded(call.heard_from_s),
            "said_before": {"up": call.up.said_before, "down": call.down.said_before},
            **({"reports": call.reports} if call.reports else {}),
        },
        "chat": {
            "server": record.chat.server,
            "connected_s": _rounded(record.chat.connected_s),
            "sent_s": [_rounded(at) for at in record.chat.sent_s],
            "acknowledged_s": [_rounded(at) for at in record.chat.acknowledged_s],
        },
        "traffic": [
            {
                "kind": one.kind,
                "began_s": _rounded(one.began_s),
                "connected_s": _rounded(one.connected_s),
                "took_s": _rounded(one.took_s),
                "payload_bytes": one.payload_bytes,
            }
            for one in record.traffic
        ],
        "middlebox": {
            "packets_asked": record.packets_asked,
            "rules": record.rules,
            "events": [[_rounded(at), flow, what] for at, flow, what in record.events],
            **({"boxes": _by_box(record.boxes)} if len(record.boxes) > 1 else {}),
        },
        "virtual_s": _rounded(record.virtual_s),
    }


def _by_box(boxes: Mapping[str, BoxRecord]) -> dict[str, Any]:
    return {
        name: {"packets_asked": box.packets_asked, "rules": box.rules}
        for name, box in boxes.items()
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 9)
