"""Mininet's nodes, interfaces and links over network namespaces and netlink; no process starts.

Mininet owns nodes and wiring. Its own classes start a shell for each node and an `ifconfig`, `ip`
or `tc` for each setting, some 300 process starts for a cell; these do the same by a few netlink
messages each.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

if importlib.util.find_spec("distutils") is None:
    # Mininet compares Open vSwitch versions by a module that Python 3.12 dropped. Nothing here
    # uses Open vSwitch.
    _distutils = ModuleType("distutils")
    _version = ModuleType("distutils.version")
    _version.StrictVersion = str  # type: ignore[attr-defined]
    sys.modules.update({"distutils": _distutils, "distutils.version": _version})

import trio
from mininet.link import Intf, Link
from mininet.net import Mininet
from mininet.node import Node
from mininet.topo import Topo
from pyroute2 import IPRoute

from testbed.lab.namespace import Namespace

SETTLE_S = 1.5
IFA_F_NODAD = 0x02
_FORWARDING = (
    Path("/proc/sys/net/ipv4/ip_forward"),
    Path("/proc/sys/net/ipv6/conf/all/forwarding"),
)


class NamespaceNode(Node):  # type: ignore[misc] # Mininet is untyped
    """A Mininet node that is a network namespace and no shell.

    Parameters beside Mininet's: `forwards` (it is a router), `default_via` and `routes`, resolved
    by `LabNetwork`.
    """

    @classmethod
    def setup(cls) -> None:
        """Nothing: Mininet looks for `mnexec` and `ifconfig` here, and nothing needs them."""

    def startShell(self, mnopts: str | None = None) -> None:  # noqa: N802 - Mininet's name
        """Make the namespace, where Mininet starts a shell."""
        self.namespace = Namespace()
        with self.namespace.entered():
            self.netlink = IPRoute()
        self.netlink.link("set", index=1, state="up")

    def config(self, **_params: object) -> dict[str, object]:
        """Nothing: addresses are the interfaces' and routes are `LabNetwork`'s."""
        return {}

    def cmd(self, *args: str) -> str:
        """Run a command line in the node by a shell and give what it prints, as Mininet does."""
        with self.namespace.entered():
            done = subprocess.run(
                " ".join(map(str, args)),
                shell=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
        return done.stdout

    def terminate(self) -> None:
        """Let go of the namespace; its links go with it."""
        self.netlink.close()
        self.namespace.close()


class NetlinkIntf(Intf):  # type: ignore[misc] # Mininet is untyped
    """A Mininet interface that sets itself by netlink.

    Its parameter `qdisc` is a tc request; `ip6`, beside Mininet's `ip`, gives it a second address.
    """

    def config(
        self, *, ip: str, ip6: str = "", qdisc: dict[str, Any] | None = None, **_params: object
    ) -> dict[str, object]:
        """Set addresses and queueing discipline, and bring it up."""
        netlink = self.node.netlink
        self.index: int = netlink.link_lookup(ifname=self.name)[0]
        self.ip, prefix_length = ip.split("/")
        self.prefixLen = int(prefix_length)
        netlink.addr("add", index=self.index, address=self.ip, prefixlen=self.prefixLen)
        self.ip6, _, prefix_length = ip6.partition("/")
        if ip6:
            # No duplicate detection: every address is ours, and must work at once.
            prefix = {"address": self.ip6, "prefixlen": int(prefix_length)}
            netlink.addr("add", index=self.index, flags=IFA_F_NODAD, **prefix)
        netlink.link("set", index=self.index, state="up")
        if qdisc is not None:
            netlink.tc("add", index=self.index, handle="1:", **qdisc)
        return {}

    def delete(self) -> None:
        """Nothing: it goes with its namespace."""


class NetlinkLink(Link):  # type: ignore[misc] # Mininet is untyped
    """A Mininet link: a veth pair made between two namespaces by one netlink message."""

    @classmethod
    def makeIntfPair(  # noqa: N802 - Mininet's name
        cls, name1: str, name2: str, addr1: str, addr2: str, node1: Node, node2: Node, **_: object
    ) -> None:
        """Make the pair, each end in its node."""
        node1.netlink.link(
            "add",
            ifname=name1,
            kind="veth",
            address=addr1,
            peer={"ifname": name2, "address": addr2, "net_ns_fd": node2.namespace.fd},
        )


class LabNetwork(Mininet):  # type: ignore[misc] # Mininet is untyped
    """A Mininet network of such nodes. `build` and `stop` as Mininet's; use it as a context."""

    def __init__(self, topo: Topo) -> None:
        # Mininet's own preparation raises the host's limits and looks for its programs.
        Mininet.inited = True
        super().__init__(
            topo=topo,
            host=NamespaceNode,
            link=NetlinkLink,
            intf=NetlinkIntf,
            controller=None,
            switch=None,
            build=False,
        )
        self._macs = 0

    def randMac(self) -> str:  # noqa: N802 - Mininet's name
        """Give the next locally administered address: counted, so that runs repeat."""
        self._macs += 1
        return "02:00:00:00:" + self._macs.to_bytes(2, "big").hex(":")

    def build(self) -> None:
        """Make nodes and links, then neighbours, forwarding and routes."""
        super().build()
        for link in self.links:
            # Known neighbours: no address resolution delays a path's first packets.
            for here, there in ((link.intf1, link.intf2), (link.intf2, link.intf1)):
                for address in filter(None, (there.ip, there.ip6)):
                    here.node.netlink.neigh(
                        "add", dst=address, lladdr=there.mac, ifindex=here.index, state="permanent"
                    )
        for node in self.hosts:
            if node.params.get("forwards"):
                with node.namespace.entered():
                    for switch in _FORWARDING[: 2 if node.intfList()[0].ip6 else 1]:
                        switch.write_text("1")
            for destination, neighbour in node.params.get("routes", {}).items():
                gateway = self._address(neighbour, node, ":" in destination)
                node.netlink.route("add", dst=destination, gateway=gateway)

    async def settled(self) -> None:
        """Wait until the kernel has announced the links: Linux does so up to a second late.

        Programs that watch for it, such as sing-box, take it for a change of network and drop all
        connections.
        """
        await trio.sleep(SETTLE_S)

    def _address(self, name: str, seen_from: Node, of_ipv6: bool) -> str:
        [(here, _)] = self[name].connectionsTo(seen_from)
        address: str = here.ip6 if of_ipv6 else here.ip
        return address

    def __enter__(self) -> LabNetwork:
        self.build()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
