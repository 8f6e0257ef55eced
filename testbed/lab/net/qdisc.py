"""The queueing disciplines of the lab's links, as pyroute2 plugins: `netem` and `fq`.

`netem` gives a link its delay, jitter, loss and rate. `fq` lets the packets of a sending node leave
at the times that their sockets have set (SO_TXTIME). pyroute2 has no `fq`, and its `netem` lacks
64-bit times (whole nanoseconds) and the seed of the random numbers.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar, TypedDict

from pyroute2.netlink import nla
from pyroute2.netlink.rtnl import TC_H_ROOT
from pyroute2.netlink.rtnl.tcmsg import plugins, sched_netem

from testbed.experiment.cell import Link

SEND_AHEAD_US = 10_000_000
"""How far ahead of its time a packet may be handed to `fq`."""
_MAX_QUEUED_PACKETS = 10_000
_U32_MAX = 0xFFFFFFFF


class _NetemOptions(sched_netem.options):  # type: ignore[misc] # pyroute2 is untyped
    nla_map = (
        *sched_netem.options.nla_map,
        ("TCA_NETEM_ECN", "none"),
        ("TCA_NETEM_RATE64", "none"),
        ("TCA_NETEM_PAD", "none"),
        ("TCA_NETEM_LATENCY64", "int64"),
        ("TCA_NETEM_JITTER64", "int64"),
        ("TCA_NETEM_SLOT", "none"),
        ("TCA_NETEM_SLOT_DIST", "none"),
        ("TCA_NETEM_PRNG_SEED", "uint64"),
    )


class _FqOptions(nla):  # type: ignore[misc] # pyroute2 is untyped
    nla_map: ClassVar = (
        ("TCA_FQ_UNSPEC", "none"),
        ("TCA_FQ_PLIMIT", "uint32"),
        ("TCA_FQ_FLOW_PLIMIT", "uint32"),
        ("TCA_FQ_QUANTUM", "uint32"),
        ("TCA_FQ_INITIAL_QUANTUM", "uint32"),
        ("TCA_FQ_RATE_ENABLE", "uint32"),
        ("TCA_FQ_FLOW_DEFAULT_RATE", "uint32"),
        ("TCA_FQ_FLOW_MAX_RATE", "uint32"),
        ("TCA_FQ_BUCKETS_LOG", "uint32"),
        ("TCA_FQ_FLOW_REFILL_DELAY", "uint32"),
        ("TCA_FQ_ORPHAN_MASK", "uint32"),
        ("TCA_FQ_LOW_RATE_THRESHOLD", "uint32"),
        ("TCA_FQ_CE_THRESHOLD", "uint32"),
        ("TCA_FQ_TIMER_SLACK", "uint32"),
        ("TCA_FQ_HORIZON", "uint32"),
        ("TCA_FQ_HORIZON_DROP", "uint8"),
    )


class NetemRequest(TypedDict):
    """What pyroute2 is asked for a `netem`."""

    kind: str
    link: Link
    seed: int
    reordered: float
    """The share of packets that skip the delay, and so overtake others."""


class FqRequest(TypedDict):
    """What pyroute2 is asked for an `fq`."""

    kind: str
    horizon: int


TcRequest = NetemRequest | FqRequest


def _netem_parameters(request: NetemRequest) -> dict[str, object]:
    link = request["link"]
    return {
        "delay": 0,
        "limit": link.queue_packets,
        "loss": round(link.loss * _U32_MAX),
        # With a gap of 1, each packet is drawn; with 0, netem reorders nothing.
        "gap": 1 if request["reordered"] else 0,
        "duplicate": 0,
        "jitter": 0,
        "attrs": [
            [
                "TCA_NETEM_RATE",
                {
                    "rate": round(link.rate_mbps * 1e6 / 8),
                    "packet_overhead": 0,
                    "cell_size": 0,
                    "cell_overhead": 0,
                },
            ],
            ["TCA_NETEM_LATENCY64", round(link.delay_ms * 1e6)],
            ["TCA_NETEM_JITTER64", round(link.jitter_ms * 1e6)],
            ["TCA_NETEM_PRNG_SEED", request["seed"]],
            *_reordering(request["reordered"]),
        ],
    }


def _reordering(share: float) -> list[list[object]]:
    if not share:
        return []
    reorder = {"prob_reorder": round(share * _U32_MAX), "corr_reorder": 0}
    return [["TCA_NETEM_REORDER", reorder]]


def _fq_parameters(_request: FqRequest) -> dict[str, object]:
    return {
        "attrs": [
            ["TCA_FQ_PLIMIT", _MAX_QUEUED_PACKETS],
            ["TCA_FQ_FLOW_PLIMIT", _MAX_QUEUED_PACKETS],
            ["TCA_FQ_HORIZON", SEND_AHEAD_US],
            ["TCA_FQ_TIMER_SLACK", 1],
        ]
    }


plugins["netem"] = SimpleNamespace(
    parent=TC_H_ROOT, options=_NetemOptions, get_parameters=_netem_parameters
)
plugins["fq"] = SimpleNamespace(parent=TC_H_ROOT, options=_FqOptions, get_parameters=_fq_parameters)


def netem(link: Link, seed: int, reordered: float = 0.0) -> NetemRequest:
    """Return the request for a link's `netem`: delay, jitter, loss, rate and queue, with a seed.

    As there is a rate, netem keeps packets in order, however large the jitter is; only the share
    `reordered` overtakes others.
    """
    return {"kind": "netem", "link": link, "seed": seed, "reordered": reordered}


def fq() -> FqRequest:
    """Return the request for `fq`, which sends a socket's packets at their SO_TXTIME."""
    return {"kind": "fq", "horizon": SEND_AHEAD_US}
