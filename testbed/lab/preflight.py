"""Finds out what a kernel lacks that the lab needs, by trying it in a namespace of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import netfilterqueue
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from testbed.experiment.cell import Link
from testbed.lab import middlebox
from testbed.lab.net import qdisc
from testbed.lab.net.namespace import Namespace


def missing() -> list[str]:
    """Name what the running kernel lacks, with its option; empty: all is there."""
    try:
        namespace = Namespace()
    except OSError as error:
        return [f"network namespaces (CONFIG_NET_NS, root): {error}"]
    lacks = []
    with namespace.entered(), IPRoute() as netlink:

        def veth() -> None:
            netlink.link("add", ifname="left", kind="veth", peer={"ifname": "right"})

        def queueing(request: dict[str, object]) -> Callable[[], None]:
            def try_it() -> None:
                index = netlink.link_lookup(ifname="left")[0]
                netlink.tc("add", index=index, handle="1:", **request)
                netlink.tc("del", index=index, root=True)

            return try_it

        def nfqueue() -> None:
            queue = netfilterqueue.NetfilterQueue()
            queue.bind(0, lambda packet: packet.accept())
            queue.unbind()

        def nftables() -> None:
            rules = middlebox.ruleset(["left", "right"]).encode()
            subprocess.run(["nft", "-f", "-"], input=rules, check=True, capture_output=True)

        needs: dict[str, Callable[[], None]] = {
            "veth (CONFIG_VETH)": veth,
            "netem (CONFIG_NET_SCH_NETEM)": queueing(qdisc.netem(Link(), 1)),
            "fq (CONFIG_NET_SCH_FQ)": queueing(qdisc.fq()),
            "NFQUEUE (CONFIG_NETFILTER_NETLINK_QUEUE)": nfqueue,
            "nftables with queue, ct mark and flow table"
            " (CONFIG_NFT_QUEUE, CONFIG_NFT_CT, CONFIG_NFT_FLOW_OFFLOAD)": nftables,
        }
        for name, try_it in needs.items():
            try:
                try_it()
            except (OSError, IndexError, NetlinkError, subprocess.CalledProcessError):
                lacks.append(name)
    namespace.close()
    return lacks


if __name__ == "__main__":
    json.dump(missing(), sys.stdout)
