"""Builds a network from its plan: creates the namespaces and sends the plan's netlink messages.

`testbed.lab.net.plan` has encoded the messages, so a cell's network takes two system calls per node
for its links and two for its settings. Namespaces get consecutive file descriptors, because the
message that creates a link refers to the namespace of its other end by descriptor.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import trio

from testbed.experiment.netplan import (
    FIRST_DESCRIPTOR,
    IFINDEX,
    BottleneckPlan,
    ChangePlan,
    Interface,
    NetworkPlan,
    NodePlan,
)
from testbed.lab.net.namespace import Namespace
from testbed.lab.net.nft import run_nft

SETTLE_S = 1.5
_FORWARDING = (
    Path("/proc/sys/net/ipv4/ip_forward"),
    Path("/proc/sys/net/ipv6/conf/all/forwarding"),
)
_WITHOUT_IPV6 = Path("/proc/sys/net/ipv6/conf/default/disable_ipv6")
"""Applies to interfaces that are created later. With IPv6, the kernel would announce addresses by
multicast, and so delay a call's packets."""
_UDP_TIMEOUTS = (
    Path("/proc/sys/net/netfilter/nf_conntrack_udp_timeout"),
    Path("/proc/sys/net/netfilter/nf_conntrack_udp_timeout_stream"),
)
_ERROR = slice(16, 20)
"""Where the answer to a netlink request has its error (netlink(7)): 0, or a negative number."""
_ANSWER_BYTES = 65536


class NetworkNode:
    """A node: a network namespace with interfaces."""

    def __init__(self, name: str, network: NetworkPlan, descriptor: int) -> None:
        self.name = name
        self._network = network
        self._plan: NodePlan = network.nodes[name]
        self.interfaces = self._plan.interfaces
        self.namespace = Namespace(descriptor)
        with self.namespace.entered():
            self._requests = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
            if not any(interface.ip6 for interface in self.interfaces):
                with suppress(FileNotFoundError):  # a host without IPv6
                    _WITHOUT_IPV6.write_text("1")

    @contextmanager
    def netlink(self) -> Iterator[Any]:
        """Open pyroute2's `IPRoute` in the node, for requests outside the plan; cells need none."""
        from pyroute2 import IPRoute  # noqa: PLC0415 - its import is expensive

        with self.namespace.entered():
            opened = IPRoute()
        with opened:
            yield opened

    def interface(self, name: str) -> Interface:
        """Return one of the node's interfaces.

        Raises:
            KeyError: There is none of that name.
        """
        return {interface.name: interface for interface in self.interfaces}[name]

    @property
    def address(self) -> str:
        """The IPv4 address of the node's first interface."""
        return self.interfaces[0].ip

    def make_links(self) -> None:
        """Create the links whose first end is in this node.

        Raises:
            OSError: The kernel refused one.
        """
        self._request(self._plan.links)

    def set_up(self) -> None:
        """Set up interfaces, routes and forwarding.

        Raises:
            OSError: The kernel refused a setting.
        """
        self._request(self._plan.settings)
        if self._plan.forwards:
            with self.namespace.entered():
                for switch in _FORWARDING[: 2 if self.interfaces[0].ip6 else 1]:
                    switch.write_text("1")
        if self._plan.rules:
            self.nft(self._plan.rules)
        if self._plan.forgets_udp_s is not None:
            with self.namespace.entered():
                for timeout in _UDP_TIMEOUTS:
                    timeout.write_text(str(self._plan.forgets_udp_s))

    def change(self, messages: bytes) -> None:
        """Change the node during a call, by netlink messages of the plan.

        Raises:
            OSError: The kernel refused.
        """
        self._request(messages)

    def nft(self, commands: str, *, json: bool = False) -> str:
        """Run nftables commands in the node; return what they print.

        Raises:
            OSError: A command failed.
        """
        with self.namespace.entered():
            return run_nft(commands, json=json)

    def time_packets_of(self, index: int) -> None:
        """Let a network interface's packets leave at the times that their senders have set."""
        self._request(_of_interface(self._network.timed_sending, index))

    def remove(self, index: int) -> None:
        """Remove a network interface.

        Raises:
            OSError: The kernel refused.
        """
        self._request(_of_interface(self._network.removal, index))

    def _request(self, messages: bytes) -> None:
        """Send netlink messages, of which the last asks for an acknowledgement.

        Raises:
            OSError: The kernel refused one.
        """
        if not messages:
            return
        self._requests.send(messages)
        # Failures are answered in any case, and in order: this is the first one, or the end.
        answer = self._requests.recv(_ANSWER_BYTES)
        error = -int.from_bytes(answer[_ERROR], sys.byteorder, signed=True)
        if error:
            raise OSError(error, f"a netlink request in {self.name} failed: {os.strerror(error)}")

    def close(self) -> None:
        """Close the namespace; its links disappear with it."""
        self._requests.close()
        self.namespace.close()


class LabNetwork:
    """A context in which a plan's network exists; its nodes are accessible by name."""

    def __init__(self, plan: NetworkPlan) -> None:
        self._plan = plan
        self.nodes: dict[str, NetworkNode] = {}

    def __getitem__(self, name: str) -> NetworkNode:
        return self.nodes[name]

    def __enter__(self) -> LabNetwork:
        try:
            for descriptor, name in enumerate(self._plan.nodes, FIRST_DESCRIPTOR):
                self.nodes[name] = NetworkNode(name, self._plan, descriptor)
            for node in self.nodes.values():
                node.make_links()
            for node in self.nodes.values():
                node.set_up()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes.values():
            node.close()
        self.nodes.clear()

    @property
    def bottlenecks(self) -> Sequence[BottleneckPlan]:
        """The directions of links that programs make."""
        return self._plan.bottlenecks

    @property
    def changes(self) -> Sequence[ChangePlan]:
        """The planned changes during a call."""
        return self._plan.changes

    async def change_from(self, began_at: float) -> None:
        """Carry out the planned changes of a call that began at a time (s, CLOCK_MONOTONIC)."""
        for change in self.changes:
            await trio.sleep_until(began_at + change.at_s)
            self[change.node].change(change.messages)

    async def settled(self) -> None:
        """Wait until the kernel has announced the links, which Linux does up to a second late.

        Programs that watch for announcements, such as sing-box, take one for a change of network
        and drop all connections.
        """
        await trio.sleep(SETTLE_S)


def _of_interface(message: bytes, index: int) -> bytes:
    """Return a message with an interface's index written into it."""
    return message[: IFINDEX.start] + index.to_bytes(4, sys.byteorder) + message[IFINDEX.stop :]
