"""What a guest observes of one cell, and the three files in which it leaves that.

    record.json  an `Observation` without the frames
    frames.csv   each frame of the call: direction, index, sent, received (ns)
    events.log   what the middleboxes found and did, for people

Nothing is judged here. Guests import this module, so it needs no library.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

Outcome = Literal["completed", "dropped", "no set-up"]
_HEADER = "direction,index,sent_ns,received_ns"
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
class MiddleboxRecord:
    """What one middlebox did."""

    packets_asked: int
    """How many packets its censor was asked about."""
    rules: Mapping[str, Mapping[str, int]]
    """By rule: packets matched, dropped, and so on (`testbed.censor.censor.RuleCounters`)."""
    events: Sequence[Event]


@dataclass
class Observation:
    """All that a conducted cell leaves behind."""

    transport: TransportRecord
    call: CallRecord
    chat: ChatRecord
    traffic: Sequence[TrafficRecord]
    middleboxes: Mapping[str, MiddleboxRecord]
    """By the name of the node, the caller's first."""
    virtual_s: float
    """From the start of the lab to its end."""

    @property
    def packets_asked(self) -> int:
        """How many packets the middleboxes' censors were asked about."""
        return sum(middlebox.packets_asked for middlebox in self.middleboxes.values())

    @property
    def rules(self) -> dict[str, dict[str, int]]:
        """By rule: packets matched and dropped, over all middleboxes."""
        total: dict[str, Counter[str]] = {}
        for middlebox in self.middleboxes.values():
            for name, counters in middlebox.rules.items():
                total.setdefault(name, Counter()).update(counters)
        return {name: dict(counters) for name, counters in total.items()}

    @property
    def events(self) -> list[Event]:
        """All middleboxes' events by time; of several, flows' names begin with the middlebox's."""
        several = len(self.middleboxes) > 1
        found = [
            (at, f"{name}: {flow}" if several else flow, what)
            for name, middlebox in self.middleboxes.items()
            for at, flow, what in middlebox.events
        ]
        return sorted(found, key=lambda event: event[0])


def write_observation(observation: Observation, path: Path) -> None:
    """Write all but the frames as JSON, seconds rounded to whole nanoseconds."""
    # Without the frames before asdict, which would copy each of them.
    up, down = (
        DirectionRecord(said_before=direction.said_before)
        for direction in (observation.call.up, observation.call.down)
    )
    content = asdict(replace(observation, call=replace(observation.call, up=up, down=down)))
    for direction in ("up", "down"):
        content["call"][direction] = {"said_before": content["call"][direction]["said_before"]}
    path.write_text(json.dumps(_rounded(content), indent=1) + "\n")


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return round(value, 9)
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list | tuple) else value


def write_frames(call: CallRecord, path: Path) -> None:
    """Write one line a frame: direction, index, sent and received in ns since dialling.

    A frame that never arrived has no time of arrival; one that came twice stands twice. If the
    senders adapt, a fifth column has the number of the frame's encoding.
    """
    adapts = bool(call.up.variants or call.down.variants)
    with path.open("w", buffering=_BUFFER_BYTES) as lines:
        lines.write(_HEADER + ",variant" * adapts + "\n")
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
    """Read what `write_frames` wrote, by direction.

    Raises:
        ValueError: It is something else.
    """
    directions = {"up": DirectionRecord(), "down": DirectionRecord()}
    with path.open() as lines:
        if not next(lines, "").startswith(_HEADER):
            raise ValueError(f"it does not begin with {_HEADER}")
        for line in lines:
            name, index, sent, received, *variant = line.rstrip("\n").split(",")
            direction = directions.get(name)
            if direction is None or not 0 <= int(index) <= len(direction.sent_s):
                raise ValueError(f"frame {index} of {name} is out of order")
            if int(index) == len(direction.sent_s):
                direction.sent_s.append(int(sent) / 1e9)
                direction.variants += map(int, variant)
            if received:
                direction.received.append((int(index), int(received) / 1e9))
    for direction in directions.values():
        direction.received.sort(key=lambda arrival: arrival[1])
    return directions
