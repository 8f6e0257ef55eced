"""Builds a planned network: namespaces, and what its netlink messages make; starts no process.

What the messages say is `testbed.lab.net.plan`'s. The network of a cell is two system calls a node for
its links, and two for its settings.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import trio

from testbed.experiment.netplan import FIRST_DESCRIPTOR, IFINDEX, Interface, NetworkPlan, NodePlan
from testbed.lab.net.namespace import Namespace
from testbed.lab.net.nft import run_nft

SETTLE_S = 1.5
_FORWARDING = (
    Path("/proc/sys/net/ipv4/ip_forward"),
    Path("/proc/sys/net/ipv6/conf/all/forwarding"),
)
_WITHOUT_IPV6 = Path("/proc/sys/net/ipv6/conf/default/disable_ipv6")
"""For interfaces to be made: the kernel would announce addresses by multicast, in a call's way."""
_ERROR = slice(16, 20)
"""Where an answer to a netlink request has its error (netlink(7)): 0, or the negative number."""
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
        """Open pyroute2's `IPRoute` in the node, for what was not planned: cells do without."""
        from pyroute2 import IPRoute  # noqa: PLC0415 - its import is expensive

        with self.namespace.entered():
            opened = IPRoute()
        with opened:
            yield opened

    def interface(self, name: str) -> Interface:
        """Give one of its interfaces. KeyError: there is none of that name."""
        return {interface.name: interface for interface in self.interfaces}[name]

    @property
    def address(self) -> str:
        """The node's IPv4 address, of its first interface."""
        return self.interfaces[0].ip

    def make_links(self) -> None:
        """Make the links whose first end is here. OSError: the kernel refused one."""
        self._request(self._plan.links)

    def set_up(self) -> None:
        """Set interfaces, routes and forwarding. OSError: the kernel refused something."""
        self._request(self._plan.settings)
        if self._plan.forwards:
            with self.namespace.entered():
                for switch in _FORWARDING[: 2 if self.interfaces[0].ip6 else 1]:
                    switch.write_text("1")

    def nft(self, commands: str, *, json: bool = False) -> str:
        """Run nftables' commands in the node; give what they print. OSError: they failed."""
        with self.namespace.entered():
            return run_nft(commands, json=json)

    def time_packets_of(self, index: int) -> None:
        """Let a network interface's packets leave at the times that their sender set."""
        self._request(_of_interface(self._network.timed_sending, index))

    def remove(self, index: int) -> None:
        """Remove a network interface. OSError: it cannot be."""
        self._request(_of_interface(self._network.removal, index))

    def _request(self, messages: bytes) -> None:
        """Hand over netlink messages, the last of which asks to be acknowledged."""
        if not messages:
            return
        self._requests.send(messages)
        # What fails is answered before; so this is either the first failure or the end.
        answer = self._requests.recv(_ANSWER_BYTES)
        error = -int.from_bytes(answer[_ERROR], sys.byteorder, signed=True)
        if error:
            raise OSError(error, f"a netlink request in {self.name}: {os.strerror(error)}")

    def close(self) -> None:
        """Let go of the namespace; its links go with it."""
        self._requests.close()
        self.namespace.close()


class LabNetwork:
    """The network of a plan, as a context: its nodes, by name."""

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

    async def settled(self) -> None:
        """Wait until the kernel has announced the links: Linux does so up to a second late.

        Programs that watch for it, such as sing-box, take it for a change of network and drop all
        connections.
        """
        await trio.sleep(SETTLE_S)


def _of_interface(message: bytes, index: int) -> bytes:
    """Put an interface's index into a message."""
    return message[: IFINDEX.start] + index.to_bytes(4, sys.byteorder) + message[IFINDEX.stop :]
