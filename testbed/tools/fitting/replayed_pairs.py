"""Replays a captured flow across a middlebox in a guest, as it was and altered.

An altered replay is a control: its bytes are inverted, or it goes to another port, so that a
middlebox does not recognise it, while times and sizes are the same (as WeHe does on real paths: Li
et al., SIGCOMM 2019). Packets leave guests never: this tests `fit --control`, and what a profile
does to a flow that was captured elsewhere.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import cypcap
import trio

from testbed.censor.packet import Direction, Endpoint, parse_packet
from testbed.censor.profile import Profile
from testbed.guest.kernel.builder import Kernel
from testbed.run.runner import run_module
from testbed.tools.calibration.experiment import (
    ARRIVALS_FILE,
    MAX_PACKETS,
    TASK_FILE,
    Arrived,
    Experiment,
    Sent,
    Task,
)
from testbed.tools.calibration.packets import packet
from testbed.tools.calibration.profiles import LISTS
from testbed.tools.fitting.capture_reading import FlowRecord, read_capture
from testbed.tools.recognition.capture_file import Capture, CaptureError

Variant = Literal["as it was", "inverted bytes", "other port"]
VARIANTS: Sequence[Variant] = ("as it was", "inverted bytes", "other port")
_FILES = {"as it was": "original", "inverted bytes": "inverted", "other port": "other-port"}
_INSIDE, _OUTSIDE = Endpoint(bytes([100, 64, 0, 2]), 0), Endpoint(bytes([203, 0, 113, 9]), 0)
"""Addresses inside and outside, as a calibration has them (RFC 6598, 5737)."""
_OTHER_PORT = 40_000
_LEAD_S, _REST_S = 0.1, 2.0
_RAW_IP, _SNAP_BYTES = 12, 1 << 16
_SEED = 1


class Replayed(NamedTuple):
    """The captures of one replay."""

    variant: Variant
    inside: Path
    outside: Path


def replay_flow(
    path: Path, number: int | None, profile: Profile, kernel: Kernel, folder: Path, cpu: int
) -> list[Replayed]:
    """Replay a UDP flow of a capture in all variants; by default the one with most packets.

    Raises:
        CaptureError: There is no such flow.
        ConductError: The guest failed.
    """
    flow = _flow(path, number)
    sent = {variant: _sent(path, flow, variant) for variant in VARIANTS}
    experiments = tuple(
        Experiment(variant, packets, packets[-1].at_s + _REST_S)
        for variant, packets in sent.items()
    )
    job = folder / "job"
    job.mkdir(parents=True)
    (job / TASK_FILE).write_bytes(pickle.dumps(Task(profile, LISTS, experiments)))

    async def play() -> None:
        module = "testbed.tools.calibration.in_guest"
        await run_module(kernel, module, job, seed=_SEED, cpu=cpu)

    trio.run(play)
    arrivals = json.loads((job / ARRIVALS_FILE).read_text())
    found = []
    for experiment, rows in zip(experiments, arrivals, strict=True):
        arrived = [Arrived(*row) for row in rows]
        name = _FILES[experiment.name]
        ends = [folder / f"{name}-{side}.pcap" for side in ("inside", "outside")]
        for end, is_inside in zip(ends, (True, False), strict=True):
            _write(end, experiment, arrived, is_inside=is_inside)
        variant = next(each for each in VARIANTS if each == experiment.name)
        found.append(Replayed(variant, ends[0], ends[1]))
    return found


def _flow(path: Path, number: int | None) -> FlowRecord:
    flows = [flow for flow in read_capture(path).flows if flow.seen.protocol == "udp"]
    if number is not None:
        flows = [flow for flow in flows if flow.seen.number == number]
    if not flows:
        raise CaptureError(f"{path} has no such flow of UDP")
    return max(flows, key=lambda flow: len(flow.columns.out))


def _sent(path: Path, flow: FlowRecord, variant: Variant) -> tuple[Sent, ...]:
    """Return a flow's packets as they are sent; up is what the capture's own end sent."""
    port = flow.remote.port if variant != "other port" else _OTHER_PORT
    ends = (_INSIDE._replace(port=flow.local.port), _OUTSIDE._replace(port=port))
    first_s = float(flow.columns.at_s[0])
    found: list[Sent] = []
    with Capture(path) as capture:
        for captured in capture:
            one = parse_packet(captured.data, Direction.UP)
            if {one.source, one.destination} != {flow.local, flow.remote}:
                continue
            up = one.source == flow.local
            payload = one.payload
            if variant == "inverted bytes":
                payload = bytes(each ^ 0xFF for each in payload)
            pair = ends if up else ends[::-1]
            data = packet("udp", *pair, payload, len(found) + 1)
            found.append(Sent(_LEAD_S + captured.at - first_s, up, data))
            if len(found) == MAX_PACKETS:
                break
    return tuple(found)


def _write(
    path: Path, experiment: Experiment, arrived: Sequence[Arrived], *, is_inside: bool
) -> None:
    """Write what one end sent and received as a capture."""
    frames = [(each.at_s, each.data) for each in experiment.packets if each.up is is_inside]
    frames += [
        (each.at_s, _routed(experiment.packets[each.number - 1].data))
        for each in arrived
        if each.number and each.up is not is_inside
    ]
    with cypcap.open_dead(_RAW_IP, _SNAP_BYTES) as dead, dead.dump_open(str(path)) as dumper:
        for at_s, data in sorted(frames, key=lambda frame: frame[0]):
            dumper.dump(cypcap.Pkthdr(at_s, len(data), len(data)), data)


def _routed(data: bytes) -> bytes:
    """Return a packet with the TTL it has behind a router."""
    return data[:8] + bytes([data[8] - 1]) + data[9:]
