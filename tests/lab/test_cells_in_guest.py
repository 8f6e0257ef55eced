"""Cells in real guests: the news comes out, runs repeat to the byte, failures have a reason."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import trio

from testbed.call.quality.verdict import SetUpOutcome
from testbed.censor.packet import Direction
from testbed.censor.stack import with_numbers_of
from testbed.experiment.cell import Cell, TransportChoice
from testbed.experiment.scenario import ROOT
from testbed.experiment.unfolding import cell_id
from testbed.guest.code_tree import guest_code
from testbed.guest.image.tree import our_image
from testbed.guest.kernel.builder import Kernel
from testbed.guest.kernel.guest import GuestOptions, Machine, run_guest
from testbed.guest.user_cache import user_cache
from testbed.record.results import WALL, RecordedCell, Run
from testbed.run.jobs import prepare_job
from testbed.run.runner import ConductError, Done, in_guest, run_cells
from tests.censor import captures
from tests.lab.conftest import quick, short_cell

pytestmark = pytest.mark.guest
CPUS = sorted(os.sched_getaffinity(0))


def conducted(kernel: Kernel, run: Run, *cells: Cell) -> list[RecordedCell]:
    ended: list[Done] = []
    trio.run(run_cells, run, cells, in_guest(kernel), CPUS, ended.append)
    assert not [done.failure for done in ended if done.result is None]
    names = [cell_id(cell) for cell in cells]
    return sorted(run.cells(), key=lambda result: names.index(result.folder.name))


def files_of(result: RecordedCell) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in result.folder.iterdir() if p.name != WALL}


def dropped(result: RecordedCell) -> int:
    return sum(rule["dropped"] for rule in result.record.observation.rules.values())


def test_the_restriction_hits_what_the_news_said_it_hits(kernel: Kernel, run: Run) -> None:
    restricted = "ru-calls-2025-08"
    whatsapp, maxx, through = conducted(
        kernel,
        run,
        short_cell("whatsapp", "direct", restricted),
        short_cell("max", "direct", restricted),
        short_cell("whatsapp", "obfs4", restricted),
    )
    assert whatsapp.record.quality.set_up.outcome is SetUpOutcome.CONNECTED
    assert whatsapp.record.directions["up"].concealed_share > 0.15
    assert dropped(whatsapp) > 100
    assert dropped(maxx) == dropped(through) == 0
    assert maxx.record.verdict.label == through.record.verdict.label == "good"
    for result in (whatsapp, maxx, through):
        assert result.record.chat.sent == result.record.chat.delivered == 6


def test_a_telegram_call_is_given_up_when_its_time_out_says(kernel: Kernel, run: Run) -> None:
    cell = short_cell("telegram-model", "direct", "ru-calls-2025-08")
    blocked = with_numbers_of(cell.censor, ["telegram-ports.probability"], 1.0)
    [result] = conducted(kernel, run, replace(cell, censor=blocked))
    assert result.record.verdict.label == "no call"
    call = result.record.observation.call
    assert 30 <= call.ended_s < 30.1
    assert "no answer within 30 s: caller to hello to the reflector" in call.reason


@pytest.mark.parametrize("transport", quick(["direct", "obfs4"], "direct"))
def test_a_cell_repeats_to_the_byte_and_another_seed_does_not(
    kernel: Kernel, run: Run, tmp_path: Path, transport: str
) -> None:
    cell = short_cell("whatsapp", transport, "ru-calls-2025-08")
    [first] = conducted(kernel, run, cell)
    manifest = run.manifest()
    again = Run(tmp_path / "again")
    again.begin(manifest, "", fresh=False)
    [second] = conducted(kernel, again, cell)
    assert files_of(first) == files_of(second)
    other = Run(tmp_path / "other")
    other.begin(manifest, "", fresh=False)
    [third] = conducted(kernel, other, replace(cell, seed=cell.seed + 1))
    assert files_of(first)["frames.csv"] != files_of(third)["frames.csv"]


def test_frames_take_the_path_that_the_links_make(kernel: Kernel, run: Run) -> None:
    """Without jitter and censor each frame takes the sum of the links' delays, to 250 us."""
    cell = short_cell("whatsapp", "direct", "open")
    still = {
        name: replace(getattr(cell.links, name), jitter_ms=0.0)
        for name in ("access", "domestic", "backbone", "hosting", "callee_access")
    }
    [result] = conducted(kernel, run, replace(cell, links=replace(cell.links, **still)))
    links = cell.links
    path_s = (links.access.delay_ms + links.backbone.delay_ms + links.hosting.delay_ms * 2) / 1000
    path_s += links.callee_access.delay_ms / 1000
    for direction in run.frames(result).values():
        assert len(direction.received) == len(direction.sent_s) == 300
        for index, at in direction.received:
            delay_s = at - direction.sent_s[index]
            assert path_s < delay_s < path_s + 250e-6


def test_what_the_caller_puts_on_the_wire_is_counted_apart_from_the_chat(
    kernel: Kernel, run: Run
) -> None:
    plain, twice = conducted(
        kernel,
        run,
        short_cell("whatsapp", "direct", "open"),
        replace(short_cell("whatsapp", "direct", "open"), transport=TransportChoice("duplicate")),
    )
    of_plain, of_twice = (r.record.observation.transport.call for r in (plain, twice))
    assert of_plain["wire_flows_up"] == of_twice["wire_flows_up"] == 1
    for way in ("up", "down"):
        packets = of_plain[f"wire_packets_{way}"]
        assert 300 <= packets <= 310
        assert of_twice[f"wire_packets_{way}"] == 2 * packets
        header_bytes = 4
        grown = of_twice[f"wire_bytes_{way}"] - 2 * of_plain[f"wire_bytes_{way}"]
        assert grown == 2 * packets * header_bytes


def test_what_a_finished_run_has_is_not_run_again(kernel: Kernel, run: Run) -> None:
    cell = short_cell("max", "direct", "open", duration_s=1)
    [result] = conducted(kernel, run, cell)
    before = (result.folder / WALL).stat()
    ended: list[Done] = []
    trio.run(run_cells, run, [cell], in_guest(kernel), CPUS, ended.append)
    assert ended == []
    assert result.wall.cpu_s is not None
    assert 0 < result.wall.cpu_s < 2 * result.wall.wall_s
    assert (result.folder / WALL).stat() == before


def test_a_failed_cell_has_its_reason_and_loses_no_other(kernel: Kernel, run: Run) -> None:
    good = short_cell("max", "direct", "open", duration_s=1)
    bad = replace(good, transport=TransportChoice("nosuch"))
    ended: list[Done] = []
    trio.run(run_cells, run, [bad, good], in_guest(kernel), CPUS[:1], ended.append)
    assert [done.result is None for done in ended] == [True, False]
    assert "ModuleNotFoundError: No module named 'transports.nosuch'" in ended[0].failure
    assert list(run.failures()) == [cell_id(bad)]


def test_the_conducting_program_says_what_is_wrong_with_its_job(
    kernel: Kernel, tmp_path: Path
) -> None:
    cell = short_cell("max", "direct", "open", duration_s=1)
    job = tmp_path / "job"
    prepare_job(job, cell)
    (job / "server.pem").write_text("no certificate")
    with pytest.raises(ConductError, match="SSLError"):
        trio.run(in_guest(kernel), job, cell, CPUS[0])


SYSTEM = [Path(f"/{name}") for name in ("bin", "etc", "lib", "lib64", "sbin", "usr", "var")]
"""Where a host has its programs and what they need."""


def on_the_hosts_files(kernel: Kernel, folder: Path, words: Sequence[str]) -> tuple[int, str, str]:
    """Run a command of the testbed in a guest with the host's files as its root.

    Return exit status, output, and errors.
    """
    machine = Machine(kernel, Path("/"), kernel.init)
    folders = (Path(sys.prefix), ROOT)
    shown = {path: path for path in folders if path.is_relative_to("/tmp")}
    options = GuestOptions(
        memory_mb=1024,
        mounts=shown,
        readable=[*SYSTEM, *folders, user_cache(), kernel.init.parent],
        env={
            "XDG_CACHE_HOME": str(user_cache().parent),
            "PYTHONPATH": str(ROOT),
            "MPLCONFIGDIR": "/tmp",
        },
    )

    async def run() -> int:
        command = [sys.executable, "-m", "testbed", *words]
        result = await run_guest(
            machine, command, folder, seed=1, cpu=CPUS[0], wall_limit_s=240, options=options
        )
        return result.exit_status

    status = trio.run(run)
    return status, (folder / "stdout").read_text(), (folder / "stderr").read_text()


@pytest.mark.slow
def test_host_kernel_mode_runs_the_same_cells(kernel: Kernel, tmp_path: Path) -> None:
    """On the guest's kernel, which has all that it needs, where a test machine's may not."""
    our_image().tree()
    guest_code()
    words = "run ru-calls-2025-08 --kernel host --messenger max --transport direct --seed 1"
    status, output, errors = on_the_hosts_files(
        kernel, tmp_path, [*words.split(), "--out", "/run/job/out"]
    )
    assert status == 0, errors
    assert "1 good" in output
    left = Run(tmp_path / "out")
    assert [result.record.verdict.label for result in left.cells()] == ["good", "good"]


def test_a_capture_has_both_sides_of_the_middlebox(kernel: Kernel, run: Run) -> None:
    """What the censor drops is on one side alone."""
    cell = short_cell("whatsapp", "direct", "ru-calls-2025-08", duration_s=3)
    ended: list[Done] = []
    trio.run(
        partial(run_cells, pcap="middlebox"), run, [cell], in_guest(kernel), CPUS, ended.append
    )
    [done] = ended
    assert done.result is not None, done.failure
    folder = done.result.folder
    inside, outside = (
        {
            packet.payload
            for _, packet in captures.packets(folder / name)
            if packet.direction is Direction.UP and packet.destination.port == 3478
        }
        for name in ("middlebox-inside.pcap", "middlebox-outside.pcap")
    )
    assert outside < inside
    assert 0.2 < len(inside - outside) / len(inside) < 0.4
    log = (folder / "events.log").read_text()
    assert "recognised as stun" in log
    assert "drop, probability" in log


def test_a_capture_at_the_ends_has_what_each_end_sent_and_received(
    kernel: Kernel, run: Run
) -> None:
    cell = short_cell("whatsapp", "direct", "ru-calls-2025-08", duration_s=3)
    ended: list[Done] = []
    trio.run(partial(run_cells, pcap="ends"), run, [cell], in_guest(kernel), CPUS, ended.append)
    [done] = ended
    assert done.result is not None, done.failure
    caller, callee = (
        [p for _, p in captures.packets(done.result.folder / name) if p.protocol == "udp"]
        for name in ("caller-end.pcap", "callee-end.pcap")
    )
    up = {p.payload for p in caller if str(p.source).startswith("10.1.")}
    arrived = {p.payload for p in callee if str(p.source).startswith("10.2.3.")}
    # What the relay answers itself is at one end alone.
    assert 0.6 < len(up & arrived) / len(up) < 0.8
    down = {p.payload for p in callee} - arrived
    assert {p.payload for p in caller} - up & down
    assert not list(done.result.folder.glob("middlebox*.pcap"))
