"""What `recognise` says of a cell's capture is what the cell's own middlebox noted."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest
import trio

from testbed.censor.stack import AnyCensor
from testbed.guest.kernel.builder import Kernel
from testbed.record.results import Run
from testbed.run.runner import Done, in_guest, run_cells
from testbed.tools.recognition.capture_file import Capture
from testbed.tools.recognition.replay import Replay
from tests.lab.conftest import short_cell

pytestmark = pytest.mark.guest
CPUS = sorted(os.sched_getaffinity(0))


def noted(folder: Path) -> dict[tuple[str, str], float]:
    """Return the lines of events.log: of which flow, what, and when (s)."""
    lines = (folder / "events.log").read_text().splitlines()
    found = {}
    for line in lines:
        at, rest = line.split(" s  ", 1)
        flow, what = rest.split("  ", 1)
        found[flow.strip(), what.strip()] = float(at)
    return found


def replayed(path: Path, censor: AnyCensor) -> dict[tuple[str, str], float]:
    """Return the same of a replay."""
    replay = Replay(censor)
    with Capture(path) as capture:
        for captured in capture:
            replay.show(captured)
    found = {}
    for flow in replay.flows:
        name = f"{flow.protocol} {flow.client} > {flow.server}"
        for fact in flow.facts:
            what = f"{fact.name} = {fact.value}" if fact.value else f"recognised as {fact.name}"
            found[name, what] = fact.when.after_s
        for rule in flow.rules:
            what = f"{rule.direction}: rule {rule.rule}: {rule.action}"
            found[name, what] = rule.when.after_s
    return found


def test_a_captures_replay_states_what_the_middlebox_noted(kernel: Kernel, run: Run) -> None:
    cell = short_cell("whatsapp", "direct", "ru-calls-2025-08", duration_s=3)
    ended: list[Done] = []
    trio.run(
        partial(run_cells, pcap="middlebox"), run, [cell], in_guest(kernel), CPUS, ended.append
    )
    [done] = ended
    assert done.result is not None, done.failure
    log = noted(done.result.folder)
    found = replayed(done.result.folder / "middlebox-inside.pcap", cell.censor)
    assert set(found) == set(log)
    # What goes up is captured before the box, and only that is there if the box drops it.
    going_up = [key for key in log if not key[1].startswith("down")]
    assert len(going_up) == 2
    first = going_up[0]
    for key in going_up:
        assert found[key] - found[first] == pytest.approx(log[key] - log[first], abs=1e-4)
