"""Apply a `Censor` to the packets that cross the middlebox node.

The node's packets take one of two paths:

- Forwarded packets go to NFQUEUE, where the censor decides on each of them.
- Once the censor calls a flow settled, a conntrack mark hands the flow to the kernel. Its flow
  table forwards the remaining packets between devices, and Python never sees them.

A packet with a verdict for later stays in the kernel's queue until then, without delaying others.

Conntrack's notion of a flow is wider than the censor's. An ICMP error belongs to the entry of the
flow whose packet it quotes, and a flow that a conntrack helper expects inherits the mark of its
master; both are in state `related`. The mark is therefore set and honoured only for a flow's own
packets (state `new` or `established`), and never for a flow that a helper expected. The censor
ensures that conntrack and it mean the same flow: it settles only TCP and UDP flows, and only on
packets whose ports it could read. Fragments arrive as one packet, because conntrack reassembles
them (`nf_defrag`) before it looks up the flow.

The middlebox runs in its own thread, which waits for the next packet or the next due time: two
system calls per packet, where trio's event loop would make five. A guest has one processor without
preemption, so the thread is as repeatable as everything else.
"""

from __future__ import annotations

import ctypes
import errno
import heapq
import math
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path

import trio

from testbed.censor.censor import Censor
from testbed.censor.packet import Direction, parse_packet
from testbed.censor.release import Release
from testbed.lab.net.network import NetworkNode

TYPE_CHECKING = False
if TYPE_CHECKING:
    import netfilterqueue

_QUEUE = 0
_QUEUE_PACKETS = 10_000
"""How many packets may wait for their verdict; the kernel drops those in excess."""
_END = b"end"
"""The message that stops the reader of the queue; no message with a packet is as short."""
_SETTLED = 1
_OWN = "ct state { new, established } ct status & expected == 0"
"""Matches a flow's own packets, not those that are merely related to it (nft(8), ct)."""
_NETFILTER = Path("/proc/sys/net/netfilter")
_IDLE_TIMES = (
    "nf_conntrack_udp_timeout",
    "nf_conntrack_udp_timeout_stream",
    "nf_conntrack_tcp_timeout_established",
    "nf_flowtable_udp_timeout",
    "nf_flowtable_tcp_timeout",
)
"""The sysctls for how long conntrack and the flow table remember a silent flow (s)."""
_RAW = {4: (socket.AF_INET, slice(16, 20)), 6: (socket.AF_INET6, slice(24, 40))}
"""By IP version: the socket family, and the position of the destination in the header."""


def ruleset(devices: Sequence[str]) -> str:
    """Return the nftables rules of a middlebox with these network interfaces."""
    return f"""
table inet censor {{
  flowtable settled {{
    hook ingress priority 0
    devices = {{ {", ".join(devices)} }}
  }}
  chain forward {{
    type filter hook forward priority 0
    {_OWN} ct mark {_SETTLED} meta l4proto {{ tcp, udp }} flow add @settled
    {_OWN} ct mark {_SETTLED} accept
    queue num {_QUEUE}
  }}
  chain postrouting {{
    type filter hook postrouting priority 0
    meta mark {_SETTLED} {_OWN} ct mark set {_SETTLED}
  }}
}}
"""


class Middlebox:
    """The middlebox of a node: asks the censor about packets, and carries out its decisions."""

    def __init__(self, node: NetworkNode, censor: Censor, inside_interface: str) -> None:
        self.censor = censor
        self.packets_asked = 0
        """How many packets the censor was asked about."""
        self._node = node
        self._inside_index = node.interface(inside_interface).ifindex
        self._later: list[tuple[float, int, Callable[[], object]]] = []
        """A heap of due times (s, CLOCK_MONOTONIC), tie-breaking numbers, and functions to call."""
        self._numbers = count()
        self._raw: dict[int, socket.socket] = {}
        """Raw sockets by IP version."""

    @contextmanager
    def attached(self) -> Iterator[netfilterqueue.NetfilterQueue]:
        """Queue the node's packets for this middlebox.

        Raises:
            OSError: The kernel lacks a required feature.
        """
        import netfilterqueue  # noqa: PLC0415 - only the lab image has it

        with self._node.namespace.entered():
            queue = netfilterqueue.NetfilterQueue()
            queue.bind(_QUEUE, self._on_packet, max_len=_QUEUE_PACKETS)
        with ExitStack() as stack:
            stack.callback(self._close)
            stack.callback(queue.unbind)
            self._node.nft(ruleset([interface.name for interface in self._node.interfaces]))
            self._forget_after(self.censor.idle_s)
            yield queue

    def _forget_after(self, idle_s: float) -> None:
        """Make the kernel forget a silent settled flow when the censor forgets it.

        Otherwise the censor would miss the next packet of that flow, although it begins a new flow.
        The kernel looks for expired entries once a second.
        """
        if idle_s < math.inf:
            with self._node.namespace.entered():
                for name in _IDLE_TIMES:
                    (_NETFILTER / name).write_text(str(math.ceil(idle_s)))

    async def run(self, queue: netfilterqueue.NetfilterQueue) -> None:
        """Decide about packets until cancelled."""
        with _Incoming(queue.get_fd(), self._do_what_is_due) as incoming:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(trio.to_thread.run_sync, _work, queue, incoming)
                    try:
                        await trio.sleep_forever()
                    finally:
                        incoming.end()
            finally:
                incoming.detach()  # the queue owns the descriptor, and closes it

    def _on_packet(self, queued: netfilterqueue.Packet) -> None:
        self.packets_asked += 1
        inside = queued.indev == self._inside_index
        direction = Direction.UP if inside else Direction.DOWN
        packet = parse_packet(queued.get_payload(), direction)
        now = time.monotonic()
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
            self._call_at(release.at, lambda: self._send(release.data))
        else:
            queued.retain()
            self._call_at(release.at, queued.accept)

    def _call_at(self, at: float, function: Callable[[], object]) -> None:
        heapq.heappush(self._later, (at, next(self._numbers), function))

    def _do_what_is_due(self) -> float:
        """Call the functions that are due, and return when the next one is (s)."""
        while self._later and self._later[0][0] <= time.monotonic():
            heapq.heappop(self._later)[2]()
        return self._later[0][0] if self._later else math.inf

    def _send(self, data: bytes) -> None:
        """Send a packet that the censor made; the node's routes choose the side.

        A locally sent packet does not pass the forward hook, so it is not queued again.
        """
        version = data[0] >> 4
        family, destination = _RAW[version]
        if version not in self._raw:
            with self._node.namespace.entered():
                self._raw[version] = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self._raw[version].sendto(data, (socket.inet_ntop(family, data[destination]), 0))

    def _close(self) -> None:
        self._later.clear()
        for sock in self._raw.values():
            sock.close()


def _work(queue: netfilterqueue.NetfilterQueue, incoming: _Incoming) -> None:
    """Decide about packets, in a thread, until `_END` arrives."""
    with _in_time():
        queue.run_socket(incoming)


class _Incoming(socket.socket):
    """The queue's socket, for `run_socket`; calls due functions while it waits for a message."""

    def __init__(self, fd: int, do_what_is_due: Callable[[], float]) -> None:
        super().__init__(fileno=fd)
        self._do_what_is_due = do_what_is_due

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Wait for a message, and return it.

        Raises:
            BlockingIOError: The message was `_END`; `run_socket` returns on this error.
        """
        while (next_at := self._do_what_is_due()) < math.inf:
            if _is_readable(self.fileno(), next_at):
                break
        message = super().recv(bufsize, flags)
        if message == _END:
            raise BlockingIOError(errno.EAGAIN, "the end")
        return message

    def end(self) -> None:
        """Make the reader stop, by a message from this socket to itself."""
        self.sendto(_END, (self.getsockname()[0], 0))


_libc = ctypes.CDLL(None, use_errno=True)
_NS = 1_000_000_000
_POLLIN = 1


@contextmanager
def _in_time() -> Iterator[None]:
    """Run this thread with real-time priority, so that its waits end on time to the nanosecond.

    Linux extends the waits of other threads by up to a thousandth of their length (select(2)).
    """
    with suppress(PermissionError):  # root in a container may not; waits are then slightly longer
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def _is_readable(fd: int, until: float) -> bool:
    """Wait for data, but not beyond `until` (s, CLOCK_MONOTONIC); return whether there is any.

    This calls ppoll(2), because poll(2), epoll and Python's `select` round the wait to whole
    milliseconds or microseconds.
    """
    left_ns = max(0, int((until - time.monotonic()) * _NS) + 1)
    # A struct pollfd (int fd, short events, short revents) as one little-endian 64-bit integer.
    asked = ctypes.c_longlong(fd | _POLLIN << 32)
    timeout = (ctypes.c_long * 2)(*divmod(left_ns, _NS))
    found: int = _libc.ppoll(ctypes.byref(asked), 1, ctypes.byref(timeout), None)
    if found < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"ppoll: {os.strerror(number)}")
    return found > 0
