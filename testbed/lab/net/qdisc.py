"""The queueing disciplines of the lab's links, as pyroute2 plugins: `netem` and `fq`.

`netem` gives a link its delay, jitter, loss and rate. `fq` lets the packets of a sending node leave
at the times that their sockets have set (SO_TXTIME). pyroute2 has no `fq`, and its `netem` lacks
64-bit times (whole nanoseconds), the seed of the random numbers, loss in bursts and distributions
of delays.

netem draws a delay from a distribution given as a table of 16-bit numbers, of which each is as
likely: delay + jitter * number / 8192 (`tabledist` in sch_netem.c).
"""

from __future__ import annotations

import math
from array import array
from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import ClassVar, TypedDict

from pyroute2.netlink import nla
from pyroute2.netlink.rtnl import TC_H_ROOT
from pyroute2.netlink.rtnl.tcmsg import plugins, sched_netem

from testbed.experiment.link import GilbertElliott, LinkDirection

SEND_AHEAD_US = 10_000_000
"""How far ahead of its time a packet may be handed to `fq`."""
_MAX_QUEUED_PACKETS = 10_000
_U32_MAX = 0xFFFFFFFF
_TABLE_SCALE, _TABLE_SIZE, _TABLE_MAX = 8192, 16384, 32767
"""NETEM_DIST_SCALE and NETEM_DIST_MAX of linux/pkt_sched.h, and the largest number of a table."""
_ORDER_MBPS, _ANY_NUMBER = 34_000, 1_000_000
"""The rate and the limit of a netem that limits nothing: the highest rate that its 32-bit field has
(in bytes per second), since without a rate netem does not keep the order of packets."""


class _Loss(nla):  # type: ignore[misc] # pyroute2 is untyped
    nla_map: ClassVar = (
        ("NETEM_LOSS_UNSPEC", "none"),
        ("NETEM_LOSS_GI", "none"),
        ("NETEM_LOSS_GE", "gilbert_elliott"),
    )

    class gilbert_elliott(nla):  # type: ignore[misc] # noqa: N801 - named as in nla_map
        fields: ClassVar = (("p", "I"), ("r", "I"), ("h", "I"), ("k1", "I"))


class _NetemOptions(sched_netem.options):  # type: ignore[misc] # pyroute2 is untyped
    nla_map = (
        *sched_netem.options.nla_map[:2],
        ("TCA_NETEM_DELAY_DIST", "cdata"),
        *sched_netem.options.nla_map[3:5],
        ("TCA_NETEM_LOSS", "loss"),
        *sched_netem.options.nla_map[6:],
        ("TCA_NETEM_ECN", "none"),
        ("TCA_NETEM_RATE64", "none"),
        ("TCA_NETEM_PAD", "none"),
        ("TCA_NETEM_LATENCY64", "int64"),
        ("TCA_NETEM_JITTER64", "int64"),
        ("TCA_NETEM_SLOT", "none"),
        ("TCA_NETEM_SLOT_DIST", "none"),
        ("TCA_NETEM_PRNG_SEED", "uint64"),
    )
    loss = _Loss


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
    link: LinkDirection
    seed: int
    loses_all: bool
    reordered: float
    """The share of packets that skip the delay, and so overtake others."""


class FqRequest(TypedDict):
    """What pyroute2 is asked for an `fq`."""

    kind: str
    horizon: int


TcRequest = NetemRequest | FqRequest


def _netem_parameters(request: NetemRequest) -> dict[str, object]:
    link = request["link"]
    jitter_ms, tables = link.jitter_ms, list[list[object]]()
    if link.jitter_kind == "exponential":
        unit, table = _exponential()
        jitter_ms, tables = link.jitter_ms * unit, [["TCA_NETEM_DELAY_DIST", table]]
    if isinstance(link.loss, GilbertElliott) and not request["loses_all"]:
        tables.append(["TCA_NETEM_LOSS", {"attrs": [["NETEM_LOSS_GE", _states(link.loss)]]}])
    share = 1.0 if request["loses_all"] else link.loss_share
    attributes = [
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
        ["TCA_NETEM_JITTER64", round(jitter_ms * 1e6)],
        ["TCA_NETEM_PRNG_SEED", request["seed"]],
        *tables,
        *_reordering(request["reordered"]),
    ]
    return {
        "delay": 0,
        "limit": link.queue_packets,
        "loss": round(share * _U32_MAX),
        # With a gap of 1, each packet is drawn; with 0, netem reorders nothing.
        "gap": 1 if request["reordered"] else 0,
        "duplicate": 0,
        "jitter": 0,
        "attrs": attributes,
    }


def _reordering(share: float) -> list[list[object]]:
    if not share:
        return []
    reorder = {"prob_reorder": round(share * _U32_MAX), "corr_reorder": 0}
    return [["TCA_NETEM_REORDER", reorder]]


def _states(loss: GilbertElliott) -> dict[str, int]:
    """Return netem's numbers for loss in bursts; its `h` is the share that the bad state passes."""
    shares = {"p": loss.to_bad, "r": loss.to_good, "h": 1 - loss.loss_bad, "k1": loss.loss_good}
    return {name: round(share * _U32_MAX) for name, share in shares.items()}


@cache
def _exponential() -> tuple[float, bytes]:
    """Return netem's jitter for an exponential distribution with the mean 1, and its table.

    The table has the distribution's quantiles in equal steps, so its tail ends at 10.4 times the
    mean: with the quantile that is in the middle of the last of 16384 steps.
    """
    steps = range(_TABLE_SIZE)
    quantiles = [-math.log(1 - (step + 0.5) / _TABLE_SIZE) for step in steps]
    unit = quantiles[-1] / _TABLE_MAX
    return unit * _TABLE_SCALE, array("h", [round(each / unit) for each in quantiles]).tobytes()


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


def netem(
    link: LinkDirection, seed: int, *, loses_all: bool = False, reordered: float = 0.0
) -> NetemRequest:
    """Return the request for a link's `netem`: delay, jitter, loss, rate and queue, with a seed.

    As there is a rate, netem keeps packets in order, however large the jitter is; only the share
    `reordered` overtakes others. With `loses_all`, it loses every packet.
    """
    return {
        "kind": "netem",
        "link": link,
        "seed": seed,
        "loses_all": loses_all,
        "reordered": reordered,
    }


def without_rate(link: LinkDirection) -> LinkDirection:
    """Return a direction of a link whose rate, trace and queue are left to somebody else."""
    return replace(
        link, rate_mbps=_ORDER_MBPS, queue_packets=_ANY_NUMBER, queue_bytes=None, trace=None
    )


def fq() -> FqRequest:
    """Return the request for `fq`, which sends a socket's packets at their SO_TXTIME."""
    return {"kind": "fq", "horizon": SEND_AHEAD_US}
