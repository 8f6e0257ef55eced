"""Makes captures of a call across a censor, without a guest: packets, lines and clocks are simple.

The near end sends RTP to a relay, which passes it on to the far end, and the other way round. The
censor is the one of the lab's middlebox; lines delay, jitter and lose packets before and behind it.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random

from testbed.call import wire
from testbed.censor.action import Action
from testbed.censor.actions.pass_ import Pass
from testbed.censor.censor import Censor
from testbed.censor.match import Match
from testbed.censor.packet import Direction, Endpoint, parse_packet
from testbed.censor.profile import Profile, Rule
from testbed.evidence import Evidence
from testbed.tools.calibration.packets import packet
from tests.recognition.files import RAW, pcap, written

NEAR = Endpoint(bytes([192, 168, 1, 5]), 40_000)
RELAY = Endpoint(bytes([203, 0, 113, 9]), 3478)
FAR = Endpoint(bytes([198, 51, 100, 7]), 50_000)
_EVIDENCE = Evidence("made for a test", "assumed")


@dataclass(frozen=True)
class Line:
    """What lines do to each packet, before and behind the censor."""

    delay_s: float = 0.02
    jitter_s: float = 0.002
    loss: float = 0.0


@dataclass(frozen=True)
class Route:
    """The ends of a call, and its relay."""

    near: Endpoint = NEAR
    relay: Endpoint = RELAY
    far: Endpoint = FAR


@dataclass(frozen=True)
class Clock:
    """What the far end's clock shows at a time of the near end's."""

    offset_s: float = 0.0
    drift: float = 0.0

    def __call__(self, at_s: float) -> float:
        return at_s * (1 + self.drift) + self.offset_s


@dataclass
class Call:
    """Simulated calls, and the frames of both captures."""

    near: list[tuple[float, bytes]] = field(default_factory=list)
    far: list[tuple[float, bytes]] = field(default_factory=list)

    def beside(self, other: Call) -> Call:
        """Return this call and another one in the same captures."""
        return Call([*self.near, *other.near], [*self.far, *other.far])

    def write(self, folder: Path, name: str = "call") -> tuple[Path, Path]:
        """Write both captures; return their paths."""
        paths = []
        for end, frames in (("near", self.near), ("far", self.far)):
            data = pcap(sorted(frames), link_type=RAW)
            paths.append(written(folder, data, f"{name}-{end}.pcap"))
        return paths[0], paths[1]


def profile_of(action: Action, match: Match | None = None, from_s: float | None = None) -> Profile:
    """Return a profile with one rule."""
    return profile_with(Rule("only", match or Match(), action, _evidence(action, from_s), from_s))


def profile_with(*rules: Rule) -> Profile:
    """Return a profile with some rules."""
    return Profile("test", "made for a test", rules, name="test")


def _evidence(action: Action, from_s: float | None) -> dict[str, Evidence]:
    from testbed.censor.action import action_numbers  # noqa: PLC0415 - only here

    names = ["match", "action", *action_numbers(action), *(["from_s"] if from_s else [])]
    return dict.fromkeys(names, _EVIDENCE)


OPEN = profile_of(Pass())


def make_call(
    profile: Profile,
    seed: int = 1,
    duration_s: float = 20.0,
    line: Line = Line(),
    clock: Clock = Clock(),
    route: Route = Route(),
) -> Call:
    """Make a call of a length across a censor with this profile."""
    near, relay, far = route.near, route.relay, route.far
    rng = Random(f"call {seed}")
    censor = Censor(profile, Random(f"censor {seed}"), {})
    censor.begin(0.0)
    call, numbers = Call(), count(1)
    waiting = [*_sent(rng, duration_s, up=True), *_sent(rng, duration_s, up=False)]
    heap: list[tuple[float, int, bool, bytes]] = []
    for at_s, up, payload in waiting:
        at_end = (call.near, near, relay) if up else (call.far, far, relay)
        shown = at_s if up else clock(at_s)
        at_end[0].append((shown, packet("udp", at_end[1], at_end[2], payload, 1)))
        if rng.random() >= line.loss / 2:
            inner = packet("udp", *((near, relay) if up else (relay, near)), payload, 1)
            reaches = at_s + line.delay_s + line.jitter_s * rng.random()
            heapq.heappush(heap, (reaches, next(numbers), up, inner))
    last = {True: 0.0, False: 0.0}
    while heap:
        at_s, _, up, data = heapq.heappop(heap)
        direction = Direction.UP if up else Direction.DOWN
        for release in censor.on_packet(parse_packet(data, direction), at_s):
            if rng.random() < line.loss / 2:
                continue
            up_now = release.direction is Direction.UP
            arrives = release.at + line.delay_s + line.jitter_s * rng.random()
            if release.at == at_s:  # lines keep the order of what was not held
                arrives = last[up_now] = max(arrives, last[up_now])
            _arrive(call, release.data, arrives, clock, route, up=up_now)
    return call


def _arrive(call: Call, data: bytes, at_s: float, clock: Clock, route: Route, *, up: bool) -> None:
    routed = data[:8] + bytes([data[8] - 2]) + data[9:]
    if up:
        payload = parse_packet(routed, Direction.UP).payload
        passed_on = packet("udp", route.relay, route.far, payload, 1)
        call.far.append((clock(at_s), passed_on[:8] + bytes([61]) + passed_on[9:]))
    else:
        call.near.append((at_s, routed))


def _sent(rng: Random, duration_s: float, *, up: bool) -> Sequence[tuple[float, bool, bytes]]:
    """Return when an end sends which RTP packets; speech alternates with pauses."""
    rtp = wire.Rtp(0x80, 111 if up else 112, frame_ms=20)
    found = []
    for index in range(int(duration_s / 0.02)):
        mean = 60 if index // 100 % 2 == 0 else 40
        size = max(20, round(rng.gauss(mean, 8)))
        payload = rtp.packet(index, rng.randbytes(size))
        found.append((1.0 + index * 0.02, up, payload))
    return found
