"""Sends datagrams across a middlebox between two nodes, as fast as the kernel accepts them.

This is a program of the lab, for a guest or a host. Its folder contains `forward.json`, which says
what is to be sent; it leaves `forwarded.json` with what came through. It does not measure its own
duration, because in a guest it takes no virtual time: whoever starts it does (`benchmark`).
"""

from __future__ import annotations

import ctypes
import json
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random

import trio
from mininet.topo import Topo

from testbed.censor.actions.delay import Delay
from testbed.censor.censor import Censor
from testbed.censor.match import Match
from testbed.censor.profile import Profile, Rule
from testbed.censor.stack import StackedCensors
from testbed.evidence import Evidence
from testbed.lab.middlebox import Middlebox
from testbed.lab.net.clock import LabClock
from testbed.lab.net.network import LabNetwork
from testbed.lab.net.plan import plan_of
from testbed.tools.bench_record import Way

FORWARD_FILE, FORWARDED_FILE = "forward.json", "forwarded.json"
PORT = 9
_COUNTERS = Path("/proc/thread-self/net/snmp")
_libc = ctypes.CDLL(None, use_errno=True)
_BATCH = 500
_LOOK_S = 0.001
"""The interval at which to check whether the middlebox has been asked about all packets sent."""
PAYLOAD_BYTES = 160
"""The size of a call's frame."""


class Across(Topo):  # type: ignore[misc] # Mininet is untyped
    """`inside` and `outside` with a middlebox between them; IPv4 and IPv6; links without delay."""

    def build(self) -> None:
        """Describe nodes and links, as Mininet requires of a topology."""
        for name in ("inside", "outside"):
            self.addHost(name, routes={"0.0.0.0/0": "middlebox", "::/0": "middlebox"})
        self.addHost("middlebox", forwards=True)
        for n, name in ((1, "inside"), (2, "outside")):
            ends = [{"ip": f"10.{n}.1.{k}/30", "ip6": f"fd00:{n}::{k}/64"} for k in (1, 2)]
            self.addLink("middlebox", name, params1=ends[0], params2=ends[1])


def censor(way: Way) -> Censor:
    """Return a censor that settles each flow at once, or one that is asked about every packet."""
    evidence = {key: Evidence("measures", "assumed") for key in ("match", "action", "delay_ms")}
    asked = Rule("asked", Match(protocol="udp"), Delay(delay_ms=0.0), evidence)
    profile = Profile("measures", "measures", (asked,) if way == "python" else ())
    return Censor(profile, Random(0))


async def forward(way: Way, packets: int) -> dict[str, int]:
    """Send datagrams from inside to outside; return how many arrived and how many were judged."""
    with LabNetwork(plan_of(Across())) as network, ExitStack() as stack:
        await network.settled()
        asks = censor(way)
        box = Middlebox(network["middlebox"], StackedCensors({"": asks}), "middlebox-eth0")
        queue = None if way == "kernel" else stack.enter_context(box.attached())
        sender = _Sender(network)
        async with trio.open_nursery() as nursery:
            if queue is not None:
                nursery.start_soon(box.run, queue)
            # The first datagram goes alone, so that its flow is settled before there are more.
            for begin, count in _batches(packets):
                sender.send(count)
                asked = {"kernel": 0, "settled": 1, "python": begin + count}[way]
                while asks.packets_asked < asked:  # noqa: ASYNC110 - it runs in a thread
                    # Our own code takes no virtual time: the middlebox only runs while it sleeps.
                    await trio.sleep(_LOOK_S)
            nursery.cancel_scope.cancel()
        return {"arrived": sender.arrived(), "asked": asks.packets_asked}


def _batches(packets: int) -> Iterator[tuple[int, int]]:
    """Yield the first index and the size of each batch; the first batch has one datagram."""
    yield 0, 1
    for begin in range(1, packets, _BATCH):
        yield begin, min(_BATCH, packets - begin)


class _MessageHeader(ctypes.Structure):
    """`struct mmsghdr` (sendmmsg(2)); its last two integers include their padding."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_bytes", ctypes.c_uint),
        ("parts", ctypes.c_void_p),
        ("part_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_bytes", ctypes.c_size_t),
        ("flags", ctypes.c_size_t),
        ("sent_bytes", ctypes.c_size_t),
    )


class _Sender:
    """Sends many datagrams by one system call, because the cost of sending is not measured."""

    def __init__(self, network: LabNetwork) -> None:
        self._outside = network["outside"]
        with self._outside.namespace.entered():
            self._sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        # Nobody reads from the sink: datagrams beyond its small buffer are counted and dropped.
        self._sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
        self._sink.bind((self._outside.address, PORT))
        with network["inside"].namespace.entered():
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(self._sink.getsockname())
        self._payload = ctypes.create_string_buffer(PAYLOAD_BYTES)
        self._part = (ctypes.c_size_t * 2)(ctypes.addressof(self._payload), PAYLOAD_BYTES)
        header = _MessageHeader(parts=ctypes.addressof(self._part), part_count=1)
        self._headers = (_MessageHeader * _BATCH)(*[header] * _BATCH)
        self._arrived_before = self._received()

    def send(self, count: int) -> None:
        """Send at most a batch of datagrams.

        Raises:
            OSError: The kernel did not accept all of them.
        """
        sent = _libc.sendmmsg(self._socket.fileno(), self._headers, count, 0)
        if sent != count:
            raise OSError(ctypes.get_errno(), f"sendmmsg: {sent} of {count} datagrams sent")

    def arrived(self) -> int:
        """Return how many IPv4 packets have arrived at the outside node since the beginning."""
        return self._received() - self._arrived_before

    def _received(self) -> int:
        with self._outside.namespace.entered():
            names, numbers = _COUNTERS.read_text().splitlines()[:2]
        return int(dict(zip(names.split(), numbers.split(), strict=True))["InDelivers"])


def main(folder: str) -> int:
    """Send what the file in a folder requests; return the exit status."""
    asked = json.loads((Path(folder) / FORWARD_FILE).read_text())
    found = trio.run(forward, asked["way"], asked["packets"], clock=LabClock())
    (Path(folder) / FORWARDED_FILE).write_text(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
