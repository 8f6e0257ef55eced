"""Judges what was seen of a NAT against its description (`testbed.experiment.nat`)."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

from pydantic import TypeAdapter

from testbed.experiment.link import Links
from testbed.experiment.nat import FROM_LAXEST, Filtering, Nat
from testbed.guest.kernel.builder import Kernel
from testbed.lab.net.plan import plan_of
from testbed.lab.net.topology import CallTopo
from testbed.record.left_files import read_left
from testbed.run.runner import run_module
from testbed.tools.calibration.findings import Calibration, Finding, Vector
from testbed.tools.calibration.nat_experiment import SEEN_FILE, TASK_FILE, NatTask, Seen

_MARGIN_S = 2.0
"""How long before and after a time-out a port is tried."""
_MOST_UDP_S = 600
_SEED = 1


async def calibrate_nat(nat: Nat, kernel: Kernel, job: Path, cpu: int) -> Calibration:
    """Find out in a guest whether a NAT behaves as it is described.

    Raises:
        ConductError: The guest failed.
    """
    timeout_s = min((each.udp_timeout_s for each in nat.translators), default=_MOST_UDP_S)
    network = plan_of(CallTopo(Links("calibration", caller_nat=nat), _SEED))
    task = NatTask(network, (timeout_s - _MARGIN_S, timeout_s + _MARGIN_S))
    _prepare(job, task)
    wall = await run_module(
        kernel, "testbed.tools.calibration.nat_in_guest", job, seed=_SEED, cpu=cpu
    )
    seen = TypeAdapter(Seen).validate_json(read_left(job, SEEN_FILE))
    found = tuple(judge(nat, seen))
    return Calibration(nat.name, found, len(seen.mapping), wall.virtual_s, wall.wall_s)


def _prepare(job: Path, task: NatTask) -> None:
    job.mkdir(parents=True)
    (job / TASK_FILE).write_bytes(pickle.dumps(task))


def judge(nat: Nat, seen: Seen) -> Iterator[Finding]:
    """Yield whether each property of a NAT was seen; behind two, the stricter one decides."""
    if any(each.blocks_udp for each in nat.translators):
        origins = [origin for origin in seen.mapping if origin is not None]
        yield _vector(nat, "UDP to the outside", "blocked", "let out" if origins else "blocked")
        return
    depends = any(each.mapping != FROM_LAXEST[0] for each in nat.translators)
    yield _vector(nat, "mapping", FROM_LAXEST[2 if depends else 0], _mapping(seen))
    strictest = max((FROM_LAXEST.index(each.filtering) for each in nat.translators), default=0)
    yield _vector(nat, "filtering", FROM_LAXEST[strictest], _filtering(seen))
    private = "let in" if not nat.translators else "dropped"
    came = "let in" if seen.uninvited else "dropped"
    yield _vector(nat, "a packet to the address inside", private, came)
    for silent_s, is_open in seen.lasting:
        timeout_s = min((each.udp_timeout_s for each in nat.translators), default=_MOST_UDP_S + 9)
        expected = "open" if silent_s < timeout_s else "closed"
        what = f"a port after {silent_s:g} s of silence"
        yield _vector(nat, what, expected, "open" if is_open else "closed")


def _mapping(seen: Seen) -> str:
    if None in seen.mapping:
        return "nothing came out"
    ports = [origin[1] for origin in seen.mapping if origin is not None]
    same = len(set(seen.mapping))
    kinds = {1: FROM_LAXEST[0], 3: FROM_LAXEST[2]}
    return kinds.get(same, FROM_LAXEST[1] if ports[0] == ports[1] else "of no kind")


def _filtering(seen: Seen) -> str:
    kinds: dict[tuple[bool, ...], Filtering] = {
        (True, True, True): FROM_LAXEST[0],
        (True, True, False): FROM_LAXEST[1],
        (True, False, False): FROM_LAXEST[2],
    }
    return kinds.get(tuple(seen.answers), f"of no kind: {list(seen.answers)}")


def _vector(nat: Nat, what: str, expected: str, found: str) -> Vector:
    return Vector(nat.name, what, expected, expected == found, found * (expected != found))
