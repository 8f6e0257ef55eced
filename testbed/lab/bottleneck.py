"""Hold a direction's packets at one end of a link until they would have been sent.

nftables queues the packets (NFQUEUE) before they leave by the link, or, at a receiving end, when
they have just come. `testbed.lab.net.fifo` computes when each will have been sent, and the kernel
gets it back then. What the link does besides (delay, jitter, loss) is netem's task. The kernel cuts
large TCP segments into packets before it queues them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from testbed.experiment.netplan import BottleneckPlan
from testbed.lab.net.fifo import Fifo, RateServer
from testbed.lab.net.network import LabNetwork, NetworkNode
from testbed.lab.net.queue_reader import QueueReader
from testbed.lab.net.trace_server import TraceServer
from testbed.record.observation import LineRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    import netfilterqueue

_FIRST_QUEUE = 100
"""The middlebox has queue 0 of its node."""
_QUEUE_PACKETS = 1_000_000
"""More than wait: the program decides which are lost."""
_RULES = """
table inet {table} {{
  chain held {{
    type filter hook {hook} priority {priority}
    {interface} "{device}" queue num {queue}
  }}
}}
"""
_HOOKS = {"postrouting": ("oifname", 400), "prerouting": ("iifname", -350)}
"""What selects an interface, and a priority: after all that may change a packet that leaves, or
before all that looks at one that has come."""


class Bottleneck:
    """One direction of a link: what holds its packets."""

    def __init__(self, node: NetworkNode, plan: BottleneckPlan, queue: int) -> None:
        self.name = plan.name
        self._node = node
        self._plan = plan
        self._queue = queue
        queue_server = RateServer(plan.phases)
        server = TraceServer(plan.trace, queue_server) if plan.trace else queue_server
        self._fifo = Fifo(server)
        self._reader = QueueReader()

    def begin(self, at: float) -> None:
        """Count the link's changes from a time (s, CLOCK_MONOTONIC)."""
        self._fifo.server.begin(at)

    def record(self, since: float, until: float) -> LineRecord:
        """Return what happened between two times, of which the first is a whole second."""
        return self._fifo.record(since, until)

    @contextmanager
    def attached(self) -> Iterator[netfilterqueue.NetfilterQueue]:
        """Queue the direction's packets for this program.

        Raises:
            OSError: The kernel lacks a required feature.
        """
        import netfilterqueue  # noqa: PLC0415 - only the lab image has it

        with self._node.namespace.entered():
            queue = netfilterqueue.NetfilterQueue()
            queue.bind(self._queue, self._on_packet, max_len=_QUEUE_PACKETS)
        with ExitStack() as stack:
            stack.callback(self._reader.forget)
            stack.callback(queue.unbind)
            interface, priority = _HOOKS[self._plan.hook]
            self._node.nft(
                _RULES.format(
                    table=f"held_{self._queue}",
                    hook=self._plan.hook,
                    priority=priority,
                    interface=interface,
                    device=self._plan.device,
                    queue=self._queue,
                )
            )
            yield queue

    async def run(self, queue: netfilterqueue.NetfilterQueue) -> None:
        """Hold packets until cancelled."""
        await self._reader.run(queue)

    def _on_packet(self, queued: netfilterqueue.Packet) -> None:
        leaves_at = self._fifo.arrive(queued.get_payload_len(), time.monotonic())
        if leaves_at is None:
            queued.drop()
        else:
            queued.retain()
            self._reader.call_at(leaves_at, queued.accept)


def bottlenecks(network: LabNetwork) -> list[Bottleneck]:
    """Return what holds packets on a network's links."""
    planned = enumerate(network.bottlenecks, _FIRST_QUEUE)
    return [Bottleneck(network[plan.node], plan, queue) for queue, plan in planned]
