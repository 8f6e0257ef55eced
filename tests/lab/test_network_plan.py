"""A network's plan: every time the same bytes, which only a kernel need understand."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import get_args

import pytest

from testbed.experiment.cell import Topology
from testbed.experiment.link import Link, Links
from testbed.experiment.netplan import FIRST_DESCRIPTOR, IFINDEX, NetworkPlan
from testbed.lab.net.addresses import MIDDLEBOXES
from testbed.lab.net.plan import plan_of
from testbed.lab.net.topology import CallTopo

TOPOLOGIES = get_args(Topology)
NLM_F_ACK = 0x04


def plan(topology: Topology, seed: int = 1, delay_ms: float = 4) -> NetworkPlan:
    links = Links(source="assumed", access=Link(delay_ms=delay_ms))
    return plan_of(CallTopo(links, seed, topology))


def headers(messages: bytes) -> Iterator[tuple[int, int, int]]:
    """Flags, sequence number and sender's port of each message."""
    at = 0
    while at < len(messages):
        length, _, *header = struct.unpack_from("=IHHII", messages, at)
        yield (header[0], header[1], header[2])
        at += length
    assert at == len(messages)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_a_plan_depends_on_what_it_plans_and_nothing_else(topology: Topology) -> None:
    assert plan(topology) == plan(topology)
    assert plan(topology) != plan(topology, seed=2)
    assert plan(topology) != plan(topology, delay_ms=5)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_only_the_last_message_of_a_batch_asks_for_an_answer(topology: Topology) -> None:
    for node in plan(topology).nodes.values():
        for messages in (node.links, node.settings):
            asks = [bool(flags & NLM_F_ACK) for flags, _, _ in headers(messages)]
            assert asks == [False] * (len(asks) - 1) + [True] * bool(asks)
            assert all(port == 0 for _, _, port in headers(messages))


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_interfaces_are_numbered_as_they_are_named(topology: Topology) -> None:
    planned = plan(topology)
    for name, node in planned.nodes.items():
        numbers = [(each.name, each.ifindex) for each in node.interfaces]
        assert numbers == [(f"{name}-eth{k}", k + 2) for k in range(len(numbers))]
    for box in MIDDLEBOXES[topology]:
        assert planned.nodes[box].forwards
        assert len(planned.nodes[box].interfaces) == 2


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_the_kernel_numbers_interfaces_as_they_are_planned(topology: Topology) -> None:
    """It takes the number asked for at the end that creates a link, and the lowest at the other."""
    taken: dict[str, set[int]] = {}
    for node in plan(topology).nodes.values():
        names = re.findall(rb"([a-z0-9-]+)-eth([0-9]+)", node.links)
        for place, (name, number) in enumerate(names):
            numbers = taken.setdefault(name.decode(), set())
            if place % 2:
                assert int(number) == min(set(range(len(numbers) + 1)) - numbers), name
            numbers.add(int(number))


def test_a_link_names_the_other_end_by_its_descriptor() -> None:
    """`IFLA_NET_NS_FD` (28): where a veth's other end is to be."""
    planned = plan("one-sided")
    names = list(planned.nodes)
    attribute = struct.pack("=HHI", 8, 28, FIRST_DESCRIPTOR + names.index("caller-gw"))
    assert attribute in planned.nodes["caller"].links


def test_messages_for_any_interface_leave_its_index_open() -> None:
    planned = plan("one-sided")
    for message in (planned.timed_sending, planned.removal):
        assert message[IFINDEX] == bytes(4)
