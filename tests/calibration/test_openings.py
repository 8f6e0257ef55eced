"""What an opening says that it shows is what the detectors find in it, and nothing else."""

from __future__ import annotations

import pytest

from testbed.censor.detectors import DETECTORS, LABELS
from testbed.censor.facts import Reading
from testbed.censor.opening import Opening, Step
from testbed.censor.packet import Direction, Endpoint, parse_packet
from testbed.tools.calibration.openings import filler, openings
from testbed.tools.calibration.packets import TcpNumbers, packet

CLIENT, SERVER = Endpoint(b"\x64\x40\0\1", 50_001), Endpoint(b"\xc6\x12\0\1", 443)
ALL = openings("a.sni.example", "a.host.example", "h3")
AFTERWARDS = tuple(Step(filler(size)) for size in (20, 400, 1000, 12, 1400) * 10)


def test_each_label_that_a_profile_may_ask_for_has_an_opening() -> None:
    assert frozenset().union(*(opening.labels for opening in ALL)) == LABELS


@pytest.mark.parametrize("opening", ALL, ids=lambda each: f"{each.protocol} {each.name}")
def test_detectors_find_in_an_opening_what_it_shows(opening: Opening) -> None:
    looking = {
        kind: kind.make(Reading()) for kind in DETECTORS if kind.protocol == opening.protocol
    }
    values: dict[str, str] = {}
    now = 0.0
    sequences = {True: 1000, False: 2000}
    for number, step in enumerate([*opening.steps, *AFTERWARDS]):
        now += opening.gap_s
        ends = (CLIENT, SERVER) if step.by_client else (SERVER, CLIENT)
        numbers = TcpNumbers(sequences[step.by_client], sequences[not step.by_client])
        data = packet(opening.protocol, *ends, step.payload, number + 1, numbers)
        sequences[step.by_client] += len(step.payload)
        way = Direction.UP if step.by_client else Direction.DOWN
        parsed = parse_packet(data, way)
        assert parsed.protocol == opening.protocol
        labels = set()
        for kind, detector in list(looking.items()):
            facts = detector.feed(parsed, now)
            if facts is not None:
                del looking[kind]
                values.update({fact.name: fact.value for fact in facts if fact.value})
                labels |= {fact.name for fact in facts if not fact.value}
        assert labels == step.labels, f"payload {number}"
    values.pop("fingerprint", None)
    assert values == opening.values
