"""Drives a `Censor` by the packets that cross the middlebox node; it decides nothing itself.

All forwarded packets come to NFQUEUE until the censor calls their flow settled: a conntrack mark
then hands the flow to the kernel, which forwards it without asking again.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import netfilterqueue
import trio

from testbed.censor.censor import Censor
from testbed.censor.packet import Direction, parse_packet
from testbed.lab.network import NamespaceNode

_QUEUE = 0
_QUEUE_PACKETS = 10_000
_SETTLED = 1
RULESET = f"""
table ip censor {{
  chain forward {{
    type filter hook forward priority 0
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

    def __init__(self, node: NamespaceNode, censor: Censor, inside_interface: str) -> None:
        self.packets_asked = 0
        """How many packets the censor was asked about."""
        self._node = node
        self._censor = censor
        self._inside_index: int = node.nameToIntf[inside_interface].index

    @contextmanager
    def attached(self) -> Iterator[netfilterqueue.NetfilterQueue]:
        """Have the packets of the node queue up here. OSError: the kernel lacks something."""
        with self._node.namespace.entered():
            queue = netfilterqueue.NetfilterQueue()
            queue.bind(_QUEUE, self._on_packet, max_len=_QUEUE_PACKETS)
            done = subprocess.run(
                ["nft", "-f", "-"], input=RULESET, capture_output=True, text=True, check=False
            )
        if done.returncode != 0:
            queue.unbind()
            raise OSError(f"nft cannot set the middlebox's rules: {done.stderr.strip()}")
        try:
            yield queue
        finally:
            queue.unbind()

    async def run(self, queue: netfilterqueue.NetfilterQueue) -> None:
        """Decide about packets until cancelled."""
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
        releases = self._censor.on_packet(packet, trio.current_time())
        if not releases:
            queued.drop()
            return
        if releases[0].settled:
            queued.set_mark(_SETTLED)
        queued.accept()
