"""The raw observation of one cell, and the three files in which a guest leaves it.

    record.json  an `Observation` without the frames
    frames.csv   each frame of the call: direction, index, sent, received (ns)
    events.log   what the middleboxes found and did, for people to read

An observation contains no judgement (see `testbed.record.judging`). Guests import this module, so
it uses the standard library only.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

Outcome = Literal["completed", "dropped", "no set-up"]
LINE_STEP_S = 0.5
_HEADER = "direction,index,sent_ns,received_ns"
_BUFFER_BYTES = 1 << 18
"""Large enough that a file of frames takes one or two writes; each is a system call, which costs
time in a guest."""


@dataclass
class DirectionRecord:
    """The frames of one direction; times in seconds since dialling."""

    sent_s: list[float] = field(default_factory=list)
    """By frame index: when the frame left the sender."""
    received: list[tuple[int, float]] = field(default_factory=list)
    """Frame index and time, in the order of arrival; a duplicated frame appears twice."""
    said_before: int = 0
    """How many frames a real engine had consumed before the first of these; it starts to read its
    microphone on its own."""
    variants: list[int] = field(default_factory=list)
    """By frame index: the number of its encoding (`testbed.call.adaptation`); empty if the sender
    does not adapt."""


@dataclass
class CallRecord:
    """One call; times in seconds since dialling."""

    outcome: Outcome = "no set-up"
    reason: str = ""
    """Why the call was not completed; empty if it was."""
    set_up_s: float | None = None
    """When both ends were connected; None if they never were."""
    ended_s: float = 0.0
    """When the call ended: it was hung up, dropped, or given up."""
    silent_s: float | None = None
    """If the call was dropped: for how long one end had heard nothing by then."""
    states: list[tuple[float, str, str]] = field(default_factory=list)
    """State changes of a real engine's connections: time, end, state."""
    heard_from_s: float | None = None
    """When the sound in the cell's WAV files begins, if a real engine played any."""
    reports: dict[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)
    """By end: a real engine's own counters, read every quarter of a second after the set-up."""
    up: DirectionRecord = field(default_factory=DirectionRecord)
    down: DirectionRecord = field(default_factory=DirectionRecord)


@dataclass
class ChatRecord:
    """The chat messages sent during a call; times in seconds since dialling."""

    server: str = ""
    """Address and port, which distinguish the chat's flow from the transport's."""
    connected_s: float | None = None
    """How long TCP and TLS took; None if they were never completed."""
    sent_s: list[float] = field(default_factory=list)
    acknowledged_s: list[float | None] = field(default_factory=list)
    """By message: when the server's echo returned; None if it never did."""


@dataclass
class TrafficRecord:
    """One transfer of other traffic, such as a web page."""

    kind: str
    began_s: float
    """When it began; counted from dialling once the cell has ended."""
    connected_s: float | None = None
    """How long TCP and TLS took; None if they were never completed."""
    took_s: float | None = None
    """From its beginning to the last byte; None if it had not finished when the call ended."""
    payload_bytes: int = 0
    """Payload exchanged in both directions."""


@dataclass
class TransportRecord:
    """What it cost to carry the call; the counters are those of `testbed.lab.nodes.wire_count`."""

    connect_s: float | None = None
    """How long the transport took to connect; None if it could not."""
    reason: str = ""
    """Why it could not connect."""
    set_up: Mapping[str, int] = field(default_factory=dict)
    """Counters of the time until it was connected."""
    call: Mapping[str, int] = field(default_factory=dict)
    """Counters from then until the end of the call."""


Event = tuple[float, str, str]
"""Something that a censor found or did: time (s since dialling), flow, description."""


@dataclass
class MiddleboxRecord:
    """What one middlebox did."""

    packets_asked: int
    """How many packets its censor was asked about."""
    rules: Mapping[str, Mapping[str, int]]
    """By rule: packets matched, packets dropped, and so on (`testbed.censor.censor.RuleCounters`).
    """
    events: Sequence[Event]
    part: str = ""
    """The profile's name, if the middlebox is a part of a stack (`testbed.censor.stack`)."""


@dataclass
class LineRecord:
    """What the bottleneck of a link did in one direction, in steps of `LINE_STEP_S` from dialling.

    There are records of the links whose rate or queue a program makes (`testbed.lab.bottleneck`).
    """

    sent_bytes: list[int] = field(default_factory=list)
    """The bytes that were sent in each step, with their Ethernet headers."""
    longest_wait_s: list[float] = field(default_factory=list)
    """The longest time that a packet that arrived in the step waited, until it had been sent."""
    lost_packets: list[int] = field(default_factory=list)
    """How many packets found the queue full."""


@dataclass
class Observation:
    """Everything that a conducted cell leaves behind."""

    transport: TransportRecord
    call: CallRecord
    chat: ChatRecord
    traffic: Sequence[TrafficRecord]
    middleboxes: Mapping[str, MiddleboxRecord]
    """By the name of the node, the caller's first; the parts of a stack have records of their own,
    by the part's name, which has the node's before it if there are several nodes."""
    virtual_s: float
    """Virtual seconds from the start of the lab to its end."""
    lines: Mapping[str, LineRecord] = field(default_factory=dict)
    """By link and direction, such as `access up`."""

    @property
    def packets_asked(self) -> int:
        """How many packets the censors of all middleboxes were asked about."""
        return sum(middlebox.packets_asked for middlebox in self.middleboxes.values())

    @property
    def rules(self) -> dict[str, dict[str, int]]:
        """By rule: the counters, summed over all middleboxes; a part's rule is `PART: RULE`."""
        total: dict[str, Counter[str]] = {}
        for middlebox in self.middleboxes.values():
            before = f"{middlebox.part}: " if middlebox.part else ""
            for name, counters in middlebox.rules.items():
                total.setdefault(before + name, Counter()).update(counters)
        return {name: dict(counters) for name, counters in total.items()}

    @property
    def events(self) -> list[Event]:
        """The events of all middleboxes in the order of time.

        If there are several middleboxes, each flow's name is prefixed with its middlebox's.
        """
        several = len(self.middleboxes) > 1
        found = [
            (at, f"{name}: {flow}" if several else flow, what)
            for name, middlebox in self.middleboxes.items()
            for at, flow, what in middlebox.events
        ]
        return sorted(found, key=lambda event: event[0])


def write_observation(observation: Observation, path: Path) -> None:
    """Write everything but the frames as JSON, with seconds rounded to whole nanoseconds."""
    # Remove the frames before asdict, which would copy each of them.
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
    """Write one line per frame: direction, index, sent and received (ns since dialling).

    A frame that never arrived has no time of arrival; one that arrived twice has two lines. If the
    senders adapt, a fifth column holds the number of the frame's encoding.
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
    """Write what the censors found and did, one line per event: s since dialling, flow, event."""
    width = max((len(flow) for _, flow, _ in events), default=0)
    lines = [f"{at:12.6f} s  {flow:<{width}}  {what}\n" for at, flow, what in events]
    path.write_text("".join(lines))


def read_frames(path: Path) -> dict[str, DirectionRecord]:
    """Return the frames that `write_frames` wrote, by direction.

    Raises:
        ValueError: The file is not such a file.
    """
    from testbed.record.left_files import open_left  # noqa: PLC0415 - guests do not read

    directions = {"up": DirectionRecord(), "down": DirectionRecord()}
    with io.TextIOWrapper(open_left(path.parent, path.name), "utf-8") as lines:
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
