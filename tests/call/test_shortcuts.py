"""What relays let the kernel pass on is what they would pass on themselves, and no more."""

from __future__ import annotations

from random import Random

import pytest

from testbed.call import wire
from testbed.call.dialects import DIALECTS, Dialect, Relay, Session
from testbed.transport.interface import Address

ENDS = (Address("10.1.1.1", 40000), Address("10.2.5.2", 50000))


def connected(name: str) -> tuple[list[Dialect], Relay]:
    """Two ends that have been through their exchanges with a relay."""
    make_dialect, make_relay = DIALECTS[name]
    rng = Random(name)
    call_id = rng.randbytes(16)
    ends = [make_dialect(Session(call_id, is_caller), 20, rng) for is_caller in (True, False)]
    relay = make_relay()
    for end, address in zip(ends, ENDS, strict=True):
        for step in end.steps():
            if step.request is not None:
                relay.on_datagram(step.request, address)
    return ends, relay


def by_shortcut(relay: Relay, datagram: bytes, source: Address) -> Address | None:
    goals = {
        goal
        for (place, begins), goal in relay.shortcuts.items()
        if place == source and datagram.startswith(begins)
    }
    assert len(goals) <= 1
    return goals.pop() if goals else None


@pytest.mark.parametrize("name", DIALECTS)
def test_media_takes_the_way_that_the_relay_would_give_it(name: str) -> None:
    ends, relay = connected(name)
    caller, callee = ENDS
    for end, here, there in ((ends[0], caller, callee), (ends[1], callee, caller)):
        for index in (0, 1, 65535, 70000):
            datagram = end.media(index, bytes(80))
            assert relay.on_datagram(datagram, here) == (datagram, there)
            assert by_shortcut(relay, datagram, here) == there


@pytest.mark.parametrize("name", DIALECTS)
def test_reports_reach_the_other_end_and_are_no_media(name: str) -> None:
    ends, relay = connected(name)
    one, other = ends
    datagram = one.beside(wire.rtcp(wire.RECEIVER_REPORT, 7, bytes(range(24))))
    assert relay.on_datagram(datagram, ENDS[0]) == (datagram, ENDS[1])
    assert other.numbers(datagram) is None
    assert other.rtcp(datagram, wire.RECEIVER_REPORT) == bytes(range(24))
    assert other.rtcp(datagram, wire.TRANSPORT_FEEDBACK) is None
    probe = one.beside(wire.padding(3, 289, payload_type=103))
    assert relay.on_datagram(probe, ENDS[0]) == (probe, ENDS[1])
    assert other.numbers(probe) is None


@pytest.mark.parametrize("name", DIALECTS)
def test_a_frame_is_numbered_by_its_time_and_a_packet_by_what_was_sent(name: str) -> None:
    (one, other), _ = connected(name)
    for index, sequence in ((0, 0), (70000, 65540), (3, 1)):
        datagram = one.media(index, bytes(40), sequence)
        assert other.numbers(datagram) == (sequence & 0xFFFF, index)


@pytest.mark.parametrize("name", DIALECTS)
def test_what_the_relay_answers_takes_no_shortcut(name: str) -> None:
    ends, relay = connected(name)
    answered = 0
    for end, here in zip(ends, ENDS, strict=True):
        for step in end.steps():
            outgoing = step.request and relay.on_datagram(step.request, here)
            if outgoing and outgoing[1] == here:
                answered += 1
                assert by_shortcut(relay, step.request or b"", here) is None
    assert answered >= 2


@pytest.mark.parametrize("name", DIALECTS)
def test_a_stranger_and_an_end_alone_take_none(name: str) -> None:
    ends, relay = connected(name)
    stranger = Address("10.1.1.1", 40001)
    assert by_shortcut(relay, ends[0].media(0, bytes(80)), stranger) is None
    make_dialect, make_relay = DIALECTS[name]
    alone = make_relay()
    for step in make_dialect(Session(bytes(16), is_caller=True), 20, Random(0)).steps():
        if step.request is not None:
            alone.on_datagram(step.request, ENDS[0])
    assert not alone.shortcuts
