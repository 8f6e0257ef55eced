"""Runs the transport conformance suite in two guests of the same seed, and compares the records."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import trio

from testbed.experiment.cell import TransportChoice
from testbed.experiment.choosing import load_transport
from testbed.experiment.loading import programs_of
from testbed.guest.kernel.builder import Kernel
from testbed.record.results import Wall
from testbed.run.certificate import write_certificates
from testbed.run.provenance import is_foreign
from testbed.run.runner import ConductError, Needs, run_module
from testbed.tools.conformance.rules import CHECK_FILE, CHECKS_FILE, ROUGH, RULES, Verdict

TWICE = "same again"
ALL_RULES = {**RULES, TWICE: "a second run leaves the same record, to the byte and the nanosecond"}
_SEED = 1


@dataclass(frozen=True)
class Conformance:
    """The result of testing a transport."""

    verdicts: Sequence[Verdict]
    """One verdict per rule, in the order of `ALL_RULES`."""
    arrivals_ns: Sequence[int]
    """When each datagram of an exchange arrived, since the suite began; not on the rough path."""
    wall: Wall

    @property
    def ok(self) -> bool:
        """Whether the transport obeys every rule."""
        return all(verdict.ok for verdict in self.verdicts)


async def check_transport(
    choice: TransportChoice,
    kernel: Kernel,
    folder: Path,
    cpus: Sequence[int],
    *,
    twice: bool = True,
) -> Conformance:
    """Test a transport in two guests of one seed, in parallel if there are two processors.

    What the guests leave, including the logs of programs, is kept in `folder`. Without `twice`
    there is only one guest, and the rule `TWICE` is not tested.

    Raises:
        ConductError: A guest failed.
    """
    walls: dict[str, Wall] = {}
    needs = Needs(tuple(programs_of(load_transport(choice))), is_foreign(choice))
    limit = trio.CapacityLimiter(len(cpus))
    free = list(cpus)

    async def run(name: str) -> None:
        async with limit:
            cpu = free.pop()
            try:
                job = _job(folder / name, choice)
                walls[name] = await run_module(
                    kernel,
                    "testbed.tools.conformance.rules",
                    job,
                    seed=_SEED,
                    cpu=cpu,
                    needs=needs,
                )
            finally:
                free.append(cpu)

    try:
        async with trio.open_nursery() as nursery:
            for name in ("first", "again") if twice else ("first",):
                nursery.start_soon(run, name)
    except* ConductError as errors:
        failure = str(errors.exceptions[0])
    else:
        failure = ""
    if failure:
        raise ConductError(failure)
    first = (folder / "first" / CHECKS_FILE).read_text()
    content = json.loads(first)
    verdicts = [Verdict(**verdict) for verdict in content["verdicts"]]
    if twice:
        again = (folder / "again" / CHECKS_FILE).read_text()
        seen = "equal" if first == again else f"compare {CHECKS_FILE} and the logs in {folder}"
        verdicts.append(Verdict(TWICE, first == again, seen))
    arrivals = (times for scene, times in content["arrivals_ns"].items() if scene != ROUGH)
    return Conformance(verdicts, list(chain.from_iterable(arrivals)), walls["first"])


def _job(folder: Path, choice: TransportChoice) -> Path:
    folder.mkdir(parents=True)
    (folder / CHECK_FILE).write_bytes(pickle.dumps(choice))
    write_certificates(folder)
    return folder
