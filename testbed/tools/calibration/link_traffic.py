"""The packets that are sent across a link to measure it, and what is read from their arrivals.

Packets go up and down in turn, so that one experiment measures both directions. A direction is
judged on its own if it differs from the other one; otherwise their packets count together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Network
from typing import NamedTuple, TypeVar

from testbed.censor.packet import Direction, Endpoint
from testbed.censor.trial import HEADER_BYTES
from testbed.experiment.link import ETHERNET_HEADER_BYTES, Change, Link, LinkDirection, Override
from testbed.tools.calibration.composition import Observation
from testbed.tools.calibration.experiment import INSIDE, PAUSE_S, Experiment, Sent
from testbed.tools.calibration.openings import filler
from testbed.tools.calibration.packets import packet
from testbed.tools.calibration.reference import NEUTRAL

PAYLOAD_BYTES = 160
RESOLUTION_S = 1e-6
"""How much longer a packet may take than its link's delay plus its serialisation; twice as much if
a program holds it besides netem."""
_IN_A_ROW, _IN_A_ROW_S = 2000, 4.0
"""The most packets, and the most seconds, between two pauses."""
_TAIL = 12
"""The longest exponential jitter, in means, that is waited for; it occurs with p = 6e-6."""
Own = TypeVar("Own", bound=Override)
_INSIDE = Endpoint(IPv4Network(INSIDE)[1].packed, 50_001)
_OUTSIDE = Endpoint(NEUTRAL[1].packed, 9)


class Group(NamedTuple):
    """Directions of a link that are the same, and so are judged together."""

    name: str
    """What is appended to the names of numbers: the direction, if there are two groups."""
    directions: tuple[Direction, ...]
    link: LinkDirection


def groups(link: Link) -> list[Group]:
    """Return one group for a link whose directions are the same, else one for each."""
    up, down = (link.direction(each) for each in Direction)
    if up == down:
        return [Group("", (Direction.UP, Direction.DOWN), up)]
    return [Group(" up", (Direction.UP,), up), Group(" down", (Direction.DOWN,), down)]


def still(link: Link) -> Link:
    """Return a link without its jitter and loss."""
    up, down = (None if own is None else _still(own) for own in (link.up, link.down))
    changes = tuple(_still(change) for change in link.changes)
    return replace(link, jitter_ms=0.0, loss=0.0, up=up, down=down, changes=changes)


def _still(own: Own) -> Own:
    """Return values of a link without its jitter and loss."""
    if isinstance(own, Change):
        up, down = (None if each is None else _still(each) for each in (own.up, own.down))
        return replace(own, jitter_ms=None, loss=None, up=up, down=down)
    return replace(own, jitter_ms=None, loss=None)


def longest_s(link: Link) -> float:
    """Return the longest time that an idle link takes for a packet of an experiment (s)."""
    return max(
        (each.delay_ms + each.jitter_ms * (_TAIL if each.jitter_kind == "exponential" else 1))
        / 1000
        + serialisation_s(each, PAYLOAD_BYTES + HEADER_BYTES["udp"])
        for each in map(link.direction, Direction)
    )


def serialisation_s(link: LinkDirection, ip_bytes: int) -> float:
    """Return the serialisation delay of a packet at the link's rate (s)."""
    return (ip_bytes + ETHERNET_HEADER_BYTES) * 8 / (link.rate_mbps * 1e6)


def probe_packet(number: int, direction: Direction, payload_bytes: int = PAYLOAD_BYTES) -> bytes:
    """Return the packet of an experiment with a number, from 1 on."""
    ends = (_INSIDE, _OUTSIDE) if direction is Direction.UP else (_OUTSIDE, _INSIDE)
    return packet("udp", *ends, filler(payload_bytes), number)


def in_turn(
    count: int, gap_s: float, link: Link, what: str, *, payload_bytes: int = PAYLOAD_BYTES
) -> Experiment:
    """Return an experiment with packets in alternating directions and pauses for the guest."""
    packets: list[Sent] = []
    in_a_row = max(1, min(_IN_A_ROW, int(_IN_A_ROW_S / gap_s) if gap_s else count))
    pause_s = 2 * PAUSE_S + longest_s(link) if gap_s else 0.0
    at_s = 0.0
    for number, direction in numbered(count):
        data = probe_packet(number, direction, payload_bytes)
        packets.append(Sent(at_s, direction is Direction.UP, data))
        at_s += gap_s + (pause_s if number % in_a_row == 0 else 0.0)
    return Experiment(what, tuple(packets), at_s + 1 + longest_s(link))


def numbered(
    count: int, directions: Sequence[Direction] = tuple(Direction)
) -> Iterator[tuple[int, Direction]]:
    """Yield the numbers and directions of an experiment's packets that go in some directions."""
    for number in range(1, count + 1):
        direction = Direction.UP if number % 2 else Direction.DOWN
        if direction in directions:
            yield number, direction


def delays_s(experiment: Experiment, seen: Observation, group: Group) -> list[float]:
    """Return the delays of a group's packets that arrived, without their serialisation (s)."""
    taken = serialisation_s(group.link, PAYLOAD_BYTES + HEADER_BYTES["udp"])
    sent = numbered(len(experiment.packets), group.directions)
    return [each - taken for number, _ in sent for each in seen.delays_of(number)]
