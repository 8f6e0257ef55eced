"""Measures a scenario's links one at a time, without a middlebox: delay, jitter, loss and queue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from ipaddress import IPv4Network
from typing import NamedTuple

from testbed.censor.estimates import (
    is_independent,
    is_uniform,
    range_overshoot,
    share_interval,
)
from testbed.censor.packet import Endpoint
from testbed.censor.trial import HEADER_BYTES
from testbed.experiment.cell import Link, Links
from testbed.tools.calibration.experiment import INSIDE, PAUSE_S, Experiment, LinkTask, Sent
from testbed.tools.calibration.findings import Finding, Measurement
from testbed.tools.calibration.openings import filler
from testbed.tools.calibration.packets import packet
from testbed.tools.calibration.probe import Probe
from testbed.tools.calibration.reference import NEUTRAL
from testbed.tools.calibration.script import Observation

RESOLUTION_S = 1e-6
"""How much longer a packet may take than its link's delay plus its serialisation."""
ETHERNET_BYTES = 14
"""The Ethernet header, which netem counts in addition to the IP packet."""
_STILL, _MOVING, _NONE_LOST, _LOST = 400, 2000, 1000, 10_000
"""Numbers of packets: for a delay, or a jitter of 0; for a jitter; for a loss of 0; for a loss."""
_IN_A_ROW, _IN_A_ROW_S = 2000, 4.0
"""The most packets, and the most seconds, between two pauses."""
_PAYLOAD_BYTES = 160
_INSIDE = Endpoint(IPv4Network(INSIDE)[1].packed, 50_001)
_OUTSIDE = Endpoint(NEUTRAL[1].packed, 9)
_OVER_QUEUE = 50


class LinkPlan(NamedTuple):
    """The experiments for a link, as tasks of two guests: without jitter and loss, and as it is."""

    name: str
    tasks: tuple[LinkTask, LinkTask]
    probes: tuple[tuple[Probe, ...], tuple[Probe, ...]]


def plan_links(links: Links) -> list[LinkPlan]:
    """Return the experiments for each link of a scenario."""
    named: Mapping[str, Link] = {
        f.name: link for f in fields(links) if isinstance(link := getattr(links, f.name), Link)
    }
    return [_plan(name, link) for name, link in named.items()]


def _plan(name: str, link: Link) -> LinkPlan:
    still = replace(link, jitter_ms=0.0, loss=0.0)
    of_still = (_delay(name, still), _queue(name, still))
    of_link = (_jitter(name, link), _loss(name, link))
    tasks = (
        LinkTask(still, tuple(probe.experiment for probe in of_still)),
        LinkTask(link, tuple(probe.experiment for probe in of_link)),
    )
    return LinkPlan(name, tasks, (of_still, of_link))


def _sent(count: int, gap_s: float, link: Link, what: str) -> Experiment:
    """Return an experiment with packets in alternating directions and pauses for the guest."""
    packets: list[Sent] = []
    in_a_row = max(1, min(_IN_A_ROW, int(_IN_A_ROW_S / gap_s) if gap_s else count))
    pause_s = 2 * PAUSE_S + (link.delay_ms + link.jitter_ms) / 1000 if gap_s else 0.0
    at_s = 0.0
    for number in range(count):
        up = number % 2 == 0
        ends = (_INSIDE, _OUTSIDE) if up else (_OUTSIDE, _INSIDE)
        data = packet("udp", *ends, filler(_PAYLOAD_BYTES), number + 1)
        packets.append(Sent(at_s, up, data))
        at_s += gap_s + (pause_s if number % in_a_row == in_a_row - 1 else 0.0)
    wait_s = 1 + (link.delay_ms + link.jitter_ms) / 1000
    return Experiment(what, tuple(packets), at_s + wait_s)


def _apart_s(link: Link) -> float:
    """Return a gap between packets after which the link is idle again (s)."""
    return (link.delay_ms + link.jitter_ms) * 2 / 1000 + 1e-3


def serialisation_s(link: Link, size_bytes: int) -> float:
    """Return the serialisation delay of a packet at the link's rate (s)."""
    return (size_bytes + ETHERNET_BYTES) * 8 / (link.rate_mbps * 1e6)


def _delays_s(experiment: Experiment, seen: Observation, link: Link) -> list[float]:
    """Return the delay of each packet that arrived, without its serialisation (s)."""
    taken = serialisation_s(link, _PAYLOAD_BYTES + HEADER_BYTES["udp"])
    found = []
    for number in range(1, len(experiment.packets) + 1):
        found += [each - taken for each in seen.delays_of(number)]
    return found


def _delay(name: str, link: Link) -> Probe:
    experiment = _sent(_STILL, _apart_s(link), link, f"{name} delay")

    def judge(seen: Observation) -> Sequence[Finding]:
        delays_s = _delays_s(experiment, seen, link)
        if len(delays_s) < _STILL:
            how = f"only {len(delays_s)} of {_STILL} packets arrived"
            return [Measurement(name, "delay_ms", link.delay_ms, None, how=how)]
        worst = max(delays_s, key=lambda each: abs(each - link.delay_ms / 1000)) * 1e3
        late = RESOLUTION_S * 1e3
        how = "the packet that is farthest off, to 1 us"
        return [
            Measurement(
                name, "delay_ms", link.delay_ms, worst, worst - late, worst + late, _STILL, how
            )
        ]

    return Probe(experiment, judge)


def _jitter(name: str, link: Link) -> Probe:
    count = _MOVING if link.jitter_ms else _STILL
    experiment = _sent(count, _apart_s(link), link, f"{name} jitter")

    def judge(seen: Observation) -> Sequence[Finding]:
        ms = [each * 1e3 for each in _delays_s(experiment, seen, link)]
        if not ms:
            return [Measurement(name, "jitter_ms", link.jitter_ms, None, how="nothing arrived")]
        half, late = (max(ms) - min(ms)) / 2, RESOLUTION_S * 1e3
        low, high = link.delay_ms - link.jitter_ms, link.delay_ms + link.jitter_ms
        how, is_right = "half of the range", True
        if link.jitter_ms:
            is_right, p = is_uniform(ms, low, high)
            how += f"; Kolmogorov-Smirnov p = {p:.3f}"
        beyond = 2 * half * range_overshoot(len(ms)) + late if is_right else float("-inf")
        return [
            Measurement(
                name, "jitter_ms", link.jitter_ms, half, half - late, half + beyond, len(ms), how
            )
        ]

    return Probe(experiment, judge)


def _loss(name: str, link: Link) -> Probe:
    """Send packets so far apart that the queue drops none, so that all losses are the link's."""
    size = _PAYLOAD_BYTES + HEADER_BYTES["udp"]
    gap_s = max(5e-4, 2 * serialisation_s(link, size), link.delay_ms / 1000 / link.queue_packets)
    count = _LOST if link.loss else _NONE_LOST
    experiment = _sent(count, gap_s, link, f"{name} loss")

    def judge(seen: Observation) -> Sequence[Finding]:
        lost = [number for number in range(1, count + 1) if not seen.delays_of(number)]
        low, high = share_interval(len(lost), count)
        how = "Clopper-Pearson"
        if link.loss and lost:
            is_right, p = is_independent(lost, link.loss)
            how += f"; the gaps between, Kolmogorov-Smirnov p = {p:.3f}"
            high = high if is_right else float("-inf")
        measured = len(lost) / count
        return [Measurement(name, "loss", link.loss, measured, low, high, count, how)]

    return Probe(experiment, judge)


def _queue(name: str, link: Link) -> Probe:
    """Send more at once than the queue holds."""
    count = 2 * (link.queue_packets + _OVER_QUEUE)
    experiment = _sent(count, 0.0, link, f"{name} queue")
    size = _PAYLOAD_BYTES + HEADER_BYTES["udp"]
    experiment = replace(
        experiment, until_s=experiment.until_s + count * serialisation_s(link, size)
    )

    def judge(seen: Observation) -> Sequence[Finding]:
        came = [sorted(_came_s(seen, up, count)) for up in (True, False)]
        found: list[Finding] = []
        for way, times in zip(("up", "down"), came, strict=True):
            if len(times) < 3:
                why = "nothing arrived"
                found.append(Measurement(name, f"rate_mbps {way}", link.rate_mbps, None, how=why))
                continue
            window_s = times[-1] - times[0]
            mbps = (len(times) - 1) * (size + ETHERNET_BYTES) * 8 / window_s / 1e6
            share = 2 * RESOLUTION_S / window_s
            found.append(
                Measurement(
                    name, f"rate_mbps {way}", link.rate_mbps, mbps, mbps * (1 - share),
                    mbps * (1 + share), len(times), f"to 2 us in {window_s * 1e3:.3g} ms",
                )
            )  # fmt: skip
            found.append(
                Measurement(
                    name, f"queue_packets {way}", link.queue_packets, len(times), len(times),
                    len(times), count // 2, "packets that arrived of those sent at once",
                )
            )  # fmt: skip
        return found

    return Probe(experiment, judge)


def _came_s(seen: Observation, up: bool, count: int) -> list[float]:
    """Return when each packet of a direction arrived; all were sent at 0."""
    numbers = range(1 if up else 2, count + 1, 2)
    return [each for number in numbers for each in seen.delays_of(number)]
