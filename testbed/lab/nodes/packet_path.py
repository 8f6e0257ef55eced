"""Hand the packets or connections of one node to a program or to a rewriter, before they leave.

The tools that people use for evasion sit where a packet leaves a machine or its router: nftables
hands packets to an NFQUEUE, and the tool lets each pass, drops it, or sends others in its place by
a raw socket. What it sends carries a mark, by which it passes without being queued again.

    program -> kernel -> nftables, postrouting -> NFQUEUE -> verdict -> the wire
                                                     |
                                                     +-> raw socket, marked -> the wire

A proxy such as byedpi gets connections instead: nftables changes their destination to the proxy's
port, except for those of the proxy's own user.

A packet whose sender wants it to leave later passes the queue when it is handed over, so a node
whose packets are queued must not send ahead of time (`LabHost.open_udp`).
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from pathlib import Path

import trio

from testbed.lab.net.network import NetworkNode
from testbed.lab.net.queue_reader import QueueReader
from testbed.transport.client_side import PacketRewriter

TYPE_CHECKING = False
if TYPE_CHECKING:
    import netfilterqueue

MARK = 0x40000000
"""The mark of packets that a rewriter sends itself, as in nfqws (zapret, docs/readme.en.md)."""
_SO_MARK = 36
_PREROUTING = 0
"""NF_INET_PRE_ROUTING (linux/netfilter.h): the hook of packets that arrive."""
_QUEUE_PACKETS = 10_000
"""How many packets may wait for their verdict; the kernel drops those in excess."""
_QUEUES = Path("/proc/thread-self/net/netfilter/nfnetlink_queue")
"""The queues of the thread's namespace that are read; the number is the first column."""
_DESTINATION = slice(16, 20)
_TABLE = "packet_path_{queue}"
_RULES = """
table ip {table} {{
  chain sent {{
    type filter hook postrouting priority mangle
    oifname "lo" accept
    meta mark & {mark} == {mark} accept
    meta l4proto {{ tcp, udp }} queue flags bypass to {queue}
  }}
  chain received {{
    type filter hook prerouting priority mangle
    iifname "lo" accept
    meta l4proto {{ tcp, udp }} queue flags bypass to {queue}
  }}
}}
"""

PROXY_USER = 65534
"""The user that proxies run as (`nobody`), whose connections are not led to the proxy again."""
_LISTENERS = Path("/proc/thread-self/net/tcp")
"""The TCP sockets of the thread's namespace: local address and port, in hexadecimal, and state."""
_LISTEN = "0A"
_PROXY_RULES = """
table ip proxied {{
  chain sent {{
    type nat hook output priority -100
    meta skuid {user} accept
    oifname "lo" accept
    ip protocol tcp dnat to 127.0.0.1:{port}
  }}
}}
"""


class PacketPath:
    """An NFQUEUE through which a node's IPv4 packets go."""

    def __init__(self, node: NetworkNode, queue: int, mark: int) -> None:
        self.queue = queue
        self._node = node
        self._mark = mark
        self._table = _TABLE.format(queue=queue)

    def begin(self) -> None:
        """Queue packets from now on.

        Raises:
            OSError: The kernel lacks a required feature.
        """
        self._node.nft(_RULES.format(table=self._table, queue=self.queue, mark=self._mark))

    def end(self) -> None:
        """Queue no packets any more."""
        self._node.nft(f"delete table ip {self._table}")

    def is_read(self) -> bool:
        """Return whether a program reads the queue."""
        with self._node.namespace.entered():
            queues = _QUEUES.read_text().splitlines()
        return any(line.split()[:1] == [str(self.queue)] for line in queues)

    async def rewrite(
        self,
        rewriter: PacketRewriter,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Let a rewriter decide about the packets until cancelled."""
        import netfilterqueue  # noqa: PLC0415 - only the lab image has it

        with self._node.namespace.entered():
            raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
            raw.setsockopt(socket.SOL_SOCKET, _SO_MARK, self._mark)
            queue = netfilterqueue.NetfilterQueue()
            queue.bind(self.queue, _Verdicts(rewriter, raw).on_packet, max_len=_QUEUE_PACKETS)
        with raw:
            try:
                task_status.started()
                await QueueReader().run(queue)
            finally:
                queue.unbind()


class Proxied:
    """A node whose TCP connections go to a proxy of its own."""

    def __init__(self, node: NetworkNode, port: int) -> None:
        self._node = node
        self._port = port

    def is_served(self) -> bool:
        """Return whether a program listens on the proxy's port."""
        with self._node.namespace.entered():
            sockets = [line.split() for line in _LISTENERS.read_text().splitlines()[1:]]
        return any(
            words[1].endswith(f":{self._port:04X}") and words[3] == _LISTEN for words in sockets
        )

    def begin(self) -> None:
        """Lead connections to the proxy from now on.

        Raises:
            OSError: The kernel lacks a required feature.
        """
        self._node.nft(_PROXY_RULES.format(user=PROXY_USER, port=self._port))

    def end(self) -> None:
        """Lead no connections to the proxy any more."""
        self._node.nft("delete table ip proxied")


class _Verdicts:
    """Carries out what a rewriter decides."""

    def __init__(self, rewriter: PacketRewriter, raw: socket.socket) -> None:
        self._rewriter = rewriter
        self._raw = raw

    def on_packet(self, queued: netfilterqueue.Packet) -> None:
        packet, now = queued.get_payload(), time.monotonic()
        if queued.hook == _PREROUTING:
            self._rewriter.received(packet, now)
            queued.accept()
            return
        leaving = self._rewriter.sent(packet, now)
        passes = bool(leaving) and leaving[-1] is packet
        if self._send(leaving[:-1] if passes else leaving) and not passes:
            queued.drop()
        else:
            queued.accept()

    def _send(self, packets: Sequence[bytes]) -> bool:
        """Send packets; return whether all could be sent.

        If one is too large for the path, the tools let the packet itself pass.
        """
        for packet in packets:
            try:
                self._raw.sendto(packet, (socket.inet_ntoa(packet[_DESTINATION]), 0))
            except OSError:
                return False
        return True
