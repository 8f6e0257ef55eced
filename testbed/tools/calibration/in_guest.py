"""Sends an experiment's packets across a middlebox or a link, and records what arrives.

This program runs in a guest. It reads `task.pickle` from the job's folder, and leaves
`arrivals.json` there. Complete packets are written to raw sockets ahead of time, in volleys; the
queueing discipline `fq` releases each at its time (SO_TXTIME), and the kernel's receive time stamps
say when it came out. So Python's own timing does not affect what is measured.
"""

from __future__ import annotations

import json
import pickle
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random

import trio
from mininet.topo import Topo

from testbed.censor.censor import Censor
from testbed.censor.packet import Direction
from testbed.censor.stack import StackedCensors
from testbed.experiment.link import Link, LinkDirection
from testbed.lab.bottleneck import bottlenecks
from testbed.lab.middlebox import Middlebox
from testbed.lab.net import qdisc
from testbed.lab.net.clock import LabClock
from testbed.lab.net.mmsg import SO_TIMESTAMPNS, SO_TXTIME
from testbed.lab.net.network import LabNetwork, NetworkNode
from testbed.lab.net.plan import plan_of
from testbed.lab.net.udp import SO_RCVBUFFORCE, SO_SNDBUFFORCE
from testbed.lab.net.wiring import Courses, LinkEnd, Node, link_ends
from testbed.tools.calibration.experiment import (
    ARRIVALS_FILE,
    INSIDE,
    PAUSE_S,
    TASK_FILE,
    Arrived,
    Experiment,
    LinkTask,
    Sent,
    Task,
)
from testbed.tools.calibration.packets import kind_of

_ETH_P_IP = 0x0800
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
"""Linux's numbers (linux/if_packet.h), which Python's socket module does not name."""
_BUFFER_BYTES = 64 << 20
_AHEAD_S, _HAND_OVER_S = 0.05, 20e-6
"""How long before its first packet a volley is handed over, and how long that takes per packet."""
_VOLLEY_S, _VOLLEY_PACKETS = 5.0, 5000
"""The limits of a volley: less than `fq` keeps, and than the receivers' buffers hold."""
_LONG_S = 20.0
"""A longer sleep is late by a considerable part of `_AHEAD_S`; no volley is as long."""


class Across(Topo):  # type: ignore[misc] # Mininet is untyped
    """inside - middlebox - outside, with nothing else in between."""

    def build(self, seed: int) -> None:
        """Describe nodes and links."""
        self.addHost("inside", routes={"0.0.0.0/0": "middlebox"})
        self.addHost("outside", routes={"0.0.0.0/0": "middlebox"})
        routes = {INSIDE: "inside", "0.0.0.0/0": "outside"}
        self.addHost("middlebox", forwards=True, routes=routes)
        rng = Random(f"links {seed}")
        for subnet, end in (("192.0.2.0", "inside"), ("192.0.2.4", "outside")):
            head, _, last = subnet.rpartition(".")
            self.addLink(
                "middlebox",
                end,
                params1={
                    "ip": f"{head}.{int(last) + 1}/30",
                    "end": LinkEnd(qdisc.netem(LinkDirection(), rng.getrandbits(63))),
                },
                params2={"ip": f"{head}.{int(last) + 2}/30", "end": LinkEnd(qdisc.fq())},
            )


class Along(Topo):  # type: ignore[misc] # Mininet is untyped
    """inside - near - far - outside, where the link to measure is between `near` and `far`."""

    def build(self, link: Link, seed: int, courses: Courses) -> None:
        """Describe nodes and links; `near` sends up."""
        self.addHost("inside", routes={"0.0.0.0/0": "near"})
        self.addHost("outside", routes={"0.0.0.0/0": "far"})
        self.addHost("near", forwards=True, routes={INSIDE: "inside", "0.0.0.0/0": "far"})
        self.addHost("far", forwards=True, routes={INSIDE: "near", "0.0.0.0/0": "outside"})
        rng = Random(f"links {seed}")
        nodes = [Node(direction, rng.getrandbits(63)) for direction in Direction]
        near, far = link_ends("link", link, nodes[0], nodes[1], courses)
        timed = LinkEnd(qdisc.fq())
        for subnet, (left, mine), (right, others) in (
            (0, ("inside", timed), ("near", None)),
            (4, ("near", near), ("far", far)),
            (8, ("far", None), ("outside", timed)),
        ):
            params = [
                {"ip": f"192.0.2.{subnet + k}/30", "end": end}
                for k, end in ((1, mine), (2, others))
            ]
            self.addLink(left, right, params1=params[0], params2=params[1])


class End:
    """One end of the network: sends raw packets at given times, and receives."""

    def __init__(self, node: NetworkNode) -> None:
        with node.namespace.entered():
            self._sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
            self._receiver = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
        self._sender.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, _BUFFER_BYTES)
        txtime = struct.pack("iI", time.CLOCK_MONOTONIC, 0)
        self._sender.setsockopt(socket.SOL_SOCKET, SO_TXTIME, txtime)
        self._receiver.setblocking(False)
        self._receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, _BUFFER_BYTES)
        self._receiver.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._receiver.bind((node.interfaces[0].name, _ETH_P_IP))
        self._realtime_offset_ns = time.time_ns() - time.monotonic_ns()

    def send_at(self, at_ns: int, data: bytes) -> None:
        """Schedule a packet to leave at a time (ns, CLOCK_MONOTONIC)."""
        control = [(socket.SOL_SOCKET, SO_TXTIME, struct.pack("Q", at_ns))]
        self._sender.sendmsg([data], control, 0, (socket.inet_ntoa(data[16:20]), 0))

    def heard(self) -> Iterator[tuple[int, bytes]]:
        """Yield each packet received so far, after its time of arrival (ns).

        Raises:
            OSError: The socket's buffer overflowed, so packets are missing.
        """
        while True:
            try:
                data, control, _, _ = self._receiver.recvmsg(0xFFFF, socket.CMSG_SPACE(16))
            except BlockingIOError:
                break
            seconds, nanoseconds = struct.unpack("qq", control[0][2])
            yield seconds * 1_000_000_000 + nanoseconds - self._realtime_offset_ns, data
        counts = self._receiver.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        if struct.unpack("II", counts)[1]:
            raise OSError("the calibration's own receiver lost packets")

    def close(self) -> None:
        """Close the sockets."""
        self._sender.close()
        self._receiver.close()


async def play(
    network: LabNetwork, experiment: Experiment, begin: Callable[[float], object] | None = None
) -> list[Arrived]:
    """Send an experiment's packets and return what arrived, in the order of arrival.

    `begin` is called with the origin of the experiment's times (s, CLOCK_MONOTONIC).
    """
    ends = {up: End(network[name]) for up, name in ((True, "inside"), (False, "outside"))}
    arrived: list[Arrived] = []
    volleys = list(_volleys(experiment.packets))
    first_s = _lead_s(volleys[0]) if volleys else 0.0
    begin_ns = time.monotonic_ns() + round(first_s * 1e9)
    if begin is not None:
        begin(begin_ns / 1e9)
    for volley in volleys:
        await _sleep_until(begin_ns / 1e9 + volley[0].at_s - _lead_s(volley))
        for up, end in ends.items():
            arrived += _arrivals(experiment, end, not up, begin_ns)
        for packet in volley:
            ends[packet.up].send_at(begin_ns + round(packet.at_s * 1e9), packet.data)
    await _sleep_until(begin_ns / 1e9 + experiment.until_s)
    for up, end in ends.items():
        arrived += _arrivals(experiment, end, not up, begin_ns)
        end.close()
    return sorted(arrived, key=lambda each: each.at_s)


async def _sleep_until(at_s: float) -> None:
    """Sleep until a time, in two steps if it is far, as Linux prolongs sleeps by up to 0.1 %.

    A short sleep takes one step only: waking up in the middle of a volley would delay packets.
    """
    if at_s - trio.current_time() > _LONG_S:
        await trio.sleep_until(at_s - 1)
    await trio.sleep_until(at_s)


def _volleys(packets: Sequence[Sent]) -> Iterator[list[Sent]]:
    volley: list[Sent] = []
    for packet in sorted(packets, key=lambda each: each.at_s):
        if volley and (
            packet.at_s - volley[-1].at_s >= PAUSE_S
            or packet.at_s - volley[0].at_s > _VOLLEY_S
            or len(volley) == _VOLLEY_PACKETS
        ):
            yield volley
            volley = []
        volley.append(packet)
    if volley:
        yield volley


def _lead_s(volley: Sequence[Sent]) -> float:
    return _AHEAD_S + len(volley) * _HAND_OVER_S


def _arrivals(experiment: Experiment, end: End, up: bool, begin_ns: int) -> Iterator[Arrived]:
    for at_ns, data in end.heard():
        number = int.from_bytes(data[4:6], "big")
        sent = experiment.packets[number - 1] if 0 < number <= len(experiment.packets) else None
        at_s = (at_ns - begin_ns) / 1e9
        if sent is not None and sent.up is up and sent.data[20:] == data[20:]:
            yield Arrived(number, at_s, up)
        else:
            yield Arrived(0, at_s, up, kind_of(data), data[12:16].hex(), data[16:20].hex())


async def across_box(task: Task, number: int) -> list[Arrived]:
    """Play one of a task's experiments across a middlebox of its own."""
    experiment = task.experiments[number]
    with LabNetwork(plan_of(Across(seed=number))) as network:
        await network.settled()
        rng = Random(f"calibrate {task.profile.name} {experiment.name}")
        censor = Censor(task.profile, rng, task.lists, experiment.local_time)
        box = Middlebox(network["middlebox"], StackedCensors({"": censor}), "middlebox-eth0")
        with box.attached() as queue:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(box.run, queue)
                arrived = await play(network, experiment, censor.begin)
                nursery.cancel_scope.cancel()
    return arrived


async def across_link(task: LinkTask, number: int) -> list[Arrived]:
    """Play one of a task's experiments across a link of its own, without a middlebox.

    The kernel's last notifications about new links come late, and would wake netlink's reader and
    delay packets; so the network is given time to settle first.
    """
    topology = Along(link=task.link, seed=number, courses=task.courses)
    with LabNetwork(plan_of(topology)) as network, ExitStack() as stack:
        lines = bottlenecks(network)
        queues = [stack.enter_context(line.attached()) for line in lines]
        async with trio.open_nursery() as nursery:
            for line, queue in zip(lines, queues, strict=True):
                nursery.start_soon(line.run, queue)
            await network.settled()

            def begin(at: float) -> None:
                for line in lines:
                    line.begin(at)
                if network.changes:
                    nursery.start_soon(network.change_from, at)

            arrived = await play(network, task.experiments[number], begin)
            nursery.cancel_scope.cancel()
    return arrived


async def run_task(task: Task | LinkTask) -> list[list[Arrived]]:
    """Play all experiments, one after another."""
    numbers = range(len(task.experiments))
    if isinstance(task, Task):
        return [await across_box(task, number) for number in numbers]
    return [await across_link(task, number) for number in numbers]


def main(folder: str) -> int:
    """Carry out the task in a job's folder; return the exit status."""
    job = Path(folder)
    with (job / TASK_FILE).open("rb") as file:
        task: Task | LinkTask = pickle.load(file)
    arrivals = trio.run(run_task, task, clock=LabClock())
    (job / ARRIVALS_FILE).write_text(json.dumps(arrivals))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
