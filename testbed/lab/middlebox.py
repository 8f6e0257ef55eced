"""Drives a `Censor` by the packets that cross the middlebox node; it decides nothing itself.

All forwarded packets come to NFQUEUE until the censor calls their flow settled: a conntrack mark
then hands the flow to the kernel, whose flow table takes it from one device to the other. A packet
whose verdict is for later stays in the kernel's queue until then, and keeps no other waiting.
"""

from __future__ import annotations

import ctypes
import heapq
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count

import netfilterqueue
import trio

from testbed.censor.censor import Censor
from testbed.censor.packet import Direction, parse_packet
from testbed.censor.release import Release
from testbed.lab.network import NetworkNode

_QUEUE = 0
_QUEUE_PACKETS = 10_000
"""How many packets may wait for their verdict; what comes then is dropped by the kernel."""
_SETTLED = 1
_RAW = {4: (socket.AF_INET, slice(16, 20)), 6: (socket.AF_INET6, slice(24, 40))}
"""By IP version: the family of sockets, and where a header has its destination."""


def ruleset(devices: Sequence[str]) -> str:
    """Give nftables' rules for a middlebox with these network interfaces."""
    return f"""
table inet censor {{
  flowtable settled {{
    hook ingress priority 0
    devices = {{ {", ".join(devices)} }}
  }}
  chain forward {{
    type filter hook forward priority 0
    ct mark {_SETTLED} meta l4proto {{ tcp, udp }} flow add @settled
    ct mark {_SETTLED} accept
    queue num {_QUEUE}
  }}
  chain postrouting {{
    type filter hook postrouting priority 0
    meta mark {_SETTLED} ct mark set {_SETTLED}
  }}
}}
"""


class Middlebox:
    """The middlebox node at work."""

    def __init__(self, node: NetworkNode, censor: Censor, inside_interface: str) -> None:
        self.censor = censor
        self.packets_asked = 0
        """How many packets the censor was asked about."""
        self._node = node
        self._inside_index = node.interface(inside_interface).ifindex
        self._later = _Later()
        self._raw: dict[int, socket.socket] = {}
        """By IP version."""

    @contextmanager
    def attached(self) -> Iterator[netfilterqueue.NetfilterQueue]:
        """Have the packets of the node queue up here. OSError: the kernel lacks something."""
        with self._node.namespace.entered():
            queue = netfilterqueue.NetfilterQueue()
            queue.bind(_QUEUE, self._on_packet, max_len=_QUEUE_PACKETS)
        with ExitStack() as stack:
            stack.callback(self._close)
            stack.callback(queue.unbind)
            self._node.nft(ruleset([interface.name for interface in self._node.interfaces]))
            yield queue

    async def run(self, queue: netfilterqueue.NetfilterQueue) -> None:
        """Decide about packets until cancelled."""
        async with trio.open_nursery() as nursery:
            self._later.nursery = nursery
            with socket.socket(fileno=queue.get_fd()) as sock:
                try:
                    while True:
                        await trio.lowlevel.wait_readable(sock)
                        queue.run(block=False)
                finally:
                    sock.detach()

    def _on_packet(self, queued: netfilterqueue.Packet) -> None:
        self.packets_asked += 1
        inside = queued.indev == self._inside_index
        direction = Direction.UP if inside else Direction.DOWN
        packet = parse_packet(queued.get_payload(), direction)
        now = trio.current_time()
        waiting: netfilterqueue.Packet | None = queued
        for release in self.censor.on_packet(packet, now):
            is_itself = release.data is packet.data and waiting is not None
            if is_itself:
                waiting = None
            if release.at > now:
                self._release_later(release, queued if is_itself else None)
            elif is_itself:
                if release.settled:
                    queued.set_mark(_SETTLED)
                queued.accept()
            else:
                self._send(release.data)
        if waiting is not None:
            queued.drop()

    def _release_later(self, release: Release, queued: netfilterqueue.Packet | None) -> None:
        if queued is None:
            self._later.call_at(release.at, lambda: self._send(release.data))
        else:
            queued.retain()
            self._later.call_at(release.at, queued.accept)

    def _send(self, data: bytes) -> None:
        """Send what the box made up; the node's routes say to which side, as for what it forwards.

        It leaves past the forward hook, so it is not queued again.
        """
        version = data[0] >> 4
        family, destination = _RAW[version]
        if version not in self._raw:
            with self._node.namespace.entered():
                self._raw[version] = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self._raw[version].sendto(data, (socket.inet_ntop(family, data[destination]), 0))

    def _close(self) -> None:
        self._later.close()
        for sock in self._raw.values():
            sock.close()


class _Later:
    """Calls functions at their times, to the nanosecond: trio waits by epoll, which has only ms.

    Its task begins with the first call: a censor that delays nothing runs as if it were not there.
    """

    def __init__(self) -> None:
        self.nursery: trio.Nursery | None = None
        self._fd: int | None = None
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = count()

    def call_at(self, at: float, function: Callable[[], object]) -> None:
        """Call a function at a time (s, CLOCK_MONOTONIC); those of one time in their order."""
        if self._fd is None:
            assert self.nursery is not None
            self._fd = _timer()
            self.nursery.start_soon(self._run, self._fd)
        is_next = not self._due or at < self._due[0][0]
        heapq.heappush(self._due, (at, next(self._numbers), function))
        if is_next:
            _set_timer(self._fd, at)

    async def _run(self, fd: int) -> None:
        while True:
            await trio.lowlevel.wait_readable(fd)
            os.read(fd, 8)
            now = trio.current_time()
            while self._due and self._due[0][0] <= now:
                heapq.heappop(self._due)[2]()
            if self._due:
                _set_timer(fd, self._due[0][0])

    def close(self) -> None:
        """Forget what is not yet due."""
        self._due.clear()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


_libc = ctypes.CDLL(None, use_errno=True)
_CLOCK_MONOTONIC, _TIMER_ABSOLUTE = 1, 1
_NS = 1_000_000_000


def _timer() -> int:
    """Make a timer (timerfd_create(2)). OSError: the kernel has none."""
    return _checked(_libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC))


def _set_timer(fd: int, at: float) -> None:
    """Have a timer's descriptor readable from a time on (s), rounded up to ns."""
    at_ns = int(at * _NS) + 1
    setting = (ctypes.c_long * 4)(0, 0, at_ns // _NS, at_ns % _NS)
    _checked(_libc.timerfd_settime(fd, _TIMER_ABSOLUTE, ctypes.byref(setting), None))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"timerfd: {os.strerror(number)}")
    return result
