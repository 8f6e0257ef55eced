"""What the log says of rules and facts can be read back; the order of detectors decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.censor import profile as profiles
from testbed.censor.action import described
from testbed.censor.actions.drop import Drop
from testbed.censor.actions.pass_ import Pass
from testbed.censor.censor import Censor
from testbed.censor.detectors import DETECTORS, LABELS
from testbed.censor.event import Applied, acts, applied, parse, stated
from testbed.censor.facts import Fact, Kind
from testbed.censor.match import Match
from testbed.censor.opening import Opening
from testbed.censor.packet import Direction, Endpoint, parse_packet
from testbed.tools.calibration.openings import openings
from testbed.tools.calibration.packets import packet
from tests.censor.packets import profile, rule

NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,12}", fullmatch=True)
CLIENT, SERVER = Endpoint(b"\x64\x40\0\1", 50_001), Endpoint(b"\xc6\x12\0\1", 443)


@given(st.builds(Fact, NAMES, st.one_of(st.just(""), st.text(min_size=1))))
def test_a_fact_is_read_back(fact: Fact) -> None:
    assert parse(stated(fact)) == fact


@given(NAMES, st.sampled_from(Direction), st.floats(0, 1))
def test_a_rule_is_read_back(name: str, direction: Direction, probability: float) -> None:
    action = Drop(probability)
    said = parse(applied(direction, name, action))
    assert said == Applied(direction.value, name, described(action))
    assert acts(described(action))
    assert not acts(described(Pass()))


def test_an_action_of_another_version_is_taken_to_affect_packets() -> None:
    assert acts("evaporate, slowly 3")


@given(st.text())
def test_any_text_is_read_without_an_error(text: str) -> None:
    assert parse(f"listed as {text}") is None
    parse(text)


def seen_of(order: Sequence[Kind], opening: Opening) -> list[tuple[list[bytes], set[str]]]:
    """What leaves a middlebox that drops half of all it recognises, and what it says, by packet."""
    rules = [rule(label, Match(label=label), Drop(0.5)) for label in sorted(LABELS)]
    with patch.object(profiles, "DETECTORS", tuple(order)):
        censor = Censor(profile(*rules), Random(1))
    found = []
    for number, step in enumerate([*opening.steps, *opening.steps]):
        ends = (CLIENT, SERVER) if step.by_client else (SERVER, CLIENT)
        data = packet(opening.protocol, *ends, step.payload, number + 1)
        way = Direction.UP if step.by_client else Direction.DOWN
        releases = censor.on_packet(parse_packet(data, way), number * opening.gap_s)
        found.append(
            ([release.data for release in releases], {event.what for event in censor.events})
        )
        censor.events.clear()
    return found


@given(st.permutations(DETECTORS), st.sampled_from(openings()))
@settings(deadline=None)
def test_the_order_of_detectors_decides_nothing(order: list[Kind], opening: Opening) -> None:
    assert seen_of(order, opening) == seen_of(DETECTORS, opening)
