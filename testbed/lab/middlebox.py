"""Apply censors to the packets that cross the middlebox node.

The node's packets take one of two paths:

- Forwarded packets go to NFQUEUE, where the censors decide on each of them.
- Once they call a flow settled, a conntrack mark hands the flow to the kernel. Its flow
  table forwards the remaining packets between devices, and Python never sees them.

A packet with a verdict for later stays in the kernel's queue until then, without delaying others.
If a part of a stack held it, the parts behind that one are asked at that time.

Conntrack's notion of a flow is wider than the censor's. An ICMP error belongs to the entry of the
flow whose packet it quotes, and a flow that a conntrack helper expects inherits the mark of its
master; both are in state `related`. The mark is therefore set and honoured only for a flow's own
packets (state `new` or `established`), and never for a flow that a helper expected. The censor
ensures that conntrack and it mean the same flow: it settles only TCP and UDP flows, and only on
packets whose ports it could read. Fragments arrive as one packet, because conntrack reassembles
them (`nf_defrag`) before it looks up the flow.

The middlebox runs in its own thread (`testbed.lab.net.queue_reader`).
"""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from testbed.censor.packet import Direction, parse_packet
from testbed.censor.release import Release
from testbed.censor.stack import StackedCensors
from testbed.lab.net.network import NetworkNode
from testbed.lab.net.queue_reader import QueueReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    import netfilterqueue

_QUEUE = 0
_QUEUE_PACKETS = 10_000
"""How many packets may wait for their verdict; the kernel drops those in excess."""
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
    """The middlebox of a node: asks its censors about packets, and carries out their decisions."""

    def __init__(self, node: NetworkNode, censors: StackedCensors, inside_interface: str) -> None:
        self.censors = censors
        self._node = node
        self._inside_index = node.interface(inside_interface).ifindex
        self._reader = QueueReader()
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
            self._forget_after(self.censors.idle_s)
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
        await self._reader.run(queue)

    def _on_packet(self, queued: netfilterqueue.Packet) -> None:
        inside = queued.indev == self._inside_index
        direction = Direction.UP if inside else Direction.DOWN
        packet = parse_packet(queued.get_payload(), direction)
        now = time.monotonic()
        self._carry_out(self.censors.on_packet(packet, now), now, packet.data, queued)

    def _carry_out(
        self,
        releases: Iterable[Release],
        now: float,
        data: bytes,
        queued: netfilterqueue.Packet | None,
    ) -> None:
        """Carry out what was decided at `now` about a packet with these bytes.

        `queued` is the packet in the kernel's queue; None for one that the middlebox made.
        """
        waiting = queued
        for release in releases:
            is_itself = release.data is data and waiting is not None
            if is_itself:
                waiting = None
            if release.at > now:
                self._release_later(release, queued if is_itself else None)
            elif is_itself and queued is not None:
                if release.settled:
                    queued.set_mark(_SETTLED)
                queued.accept()
            else:
                self._send(release.data)
        if waiting is not None:
            waiting.drop()

    def _release_later(self, release: Release, queued: netfilterqueue.Packet | None) -> None:
        if queued is not None:
            queued.retain()
        if release.onward is not None:
            self._reader.call_at(release.at, lambda: self._resume(release, queued))
        elif queued is not None:
            self._reader.call_at(release.at, queued.accept)
        else:
            self._reader.call_at(release.at, lambda: self._send(release.data))

    def _resume(self, release: Release, queued: netfilterqueue.Packet | None) -> None:
        """Let a packet that a part has held meet the parts behind it."""
        now = time.monotonic()
        self._carry_out(self.censors.resume(release, now), now, release.data, queued)

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
        self._reader.forget()
        for sock in self._raw.values():
            sock.close()
