"""Find out which features the running kernel lacks, by trying each in a fresh network namespace."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from testbed.experiment.cell import LACKS_FILE
from testbed.experiment.link import LinkDirection
from testbed.lab import middlebox
from testbed.lab.net import qdisc
from testbed.lab.net.namespace import Namespace


def missing() -> list[str]:
    """Return the features that the running kernel lacks, with their options; empty if none."""
    try:
        namespace = Namespace()
    except OSError as error:
        return [f"network namespaces (CONFIG_NET_NS, root): {error}"]
    lacks = []
    with namespace.entered(), IPRoute() as netlink:
        for name, use in _NEEDS.items():
            try:
                use(netlink)
            except (OSError, IndexError, NetlinkError, subprocess.CalledProcessError):
                lacks.append(name)
    namespace.close()
    return lacks


def _veth(netlink: IPRoute) -> None:
    netlink.link("add", ifname="left", kind="veth", peer={"ifname": "right"})


def _queueing(request: Mapping[str, object], netlink: IPRoute) -> None:
    """Attach a queueing discipline to the veth, and delete it again."""
    index = netlink.link_lookup(ifname="left")[0]
    netlink.tc("add", index=index, handle="1:", **request)
    netlink.tc("del", index=index, root=True)


def _nfqueue(_netlink: IPRoute) -> None:
    import netfilterqueue  # noqa: PLC0415 - only the lab image has it

    queue = netfilterqueue.NetfilterQueue()
    queue.bind(0, lambda packet: packet.accept())
    queue.unbind()


def _nftables(_netlink: IPRoute) -> None:
    rules = middlebox.ruleset(["left", "right"]).encode()
    subprocess.run(["nft", "-f", "-"], input=rules, check=True, capture_output=True)


_NEEDS: Mapping[str, Callable[[IPRoute], None]] = {
    "veth (CONFIG_VETH)": _veth,
    "netem (CONFIG_NET_SCH_NETEM)": partial(_queueing, qdisc.netem(LinkDirection(), 1)),
    "fq (CONFIG_NET_SCH_FQ)": partial(_queueing, qdisc.fq()),
    "NFQUEUE (CONFIG_NETFILTER_NETLINK_QUEUE)": _nfqueue,
    "nftables with queue, ct mark and flow table"
    " (CONFIG_NFT_QUEUE, CONFIG_NFT_CT, CONFIG_NFT_FLOW_OFFLOAD)": _nftables,
}
"""Each feature and a function that uses it; the queueing disciplines need the veth before them."""


def main(folder: str) -> int:
    """Write what is missing into a job's folder, as JSON; return the exit status."""
    (Path(folder) / LACKS_FILE).write_text(json.dumps(missing()))
    return 0
