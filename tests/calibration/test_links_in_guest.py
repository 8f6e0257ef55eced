"""Links that differ in their directions, lose in bursts, limit sizes and change: measured back."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from testbed.experiment.link import Change, GilbertElliott, Link, Links, Override
from testbed.experiment.scenario import LINK_FILES
from testbed.experiment.trace import Trace
from testbed.experiment.trace_files import courses_of
from testbed.guest.kernel.builder import Kernel
from testbed.tools.calibration import profiles
from testbed.tools.calibration.findings import Calibration, Measurement
from testbed.tools.calibration.link_traces import trace_tasks
from testbed.tools.calibration.profiles import calibrate_links

pytestmark = pytest.mark.guest
TEST = "a test"


def calibrated(kernel: Kernel, folder: Path, links: Links) -> Calibration:
    [found] = trio.run(calibrate_links, {"mine": links}, kernel, folder, [0])
    return found


def numbers(found: Calibration, link: str) -> dict[str, Measurement]:
    return {each.number: each for each in found.measurements if each.rule == link}


@pytest.mark.slow
def test_each_direction_has_its_own_numbers(kernel: Kernel, tmp_path: Path) -> None:
    access = Link(
        delay_ms=30,
        rate_mbps=5,
        up=Override(rate_mbps=0.5, queue_bytes=20_000, delay_ms=40),
        down=Override(loss=GilbertElliott(0.01, 0.25), jitter_ms=5, jitter_kind="exponential"),
    )
    found = calibrated(kernel, tmp_path, Links(TEST, access))
    assert not found.failures
    of_access = numbers(found, "access")
    assert of_access["delay_ms up"].measured == pytest.approx(40, abs=0.01)
    assert of_access["delay_ms down"].measured == pytest.approx(30, abs=0.01)
    assert of_access["queue_bytes up"].requested == 20_000
    assert of_access["loss down, mean run"].requested == 4
    assert {v.what for v in found.vectors} >= {"375 packets down, 1 ms apart"}


@pytest.mark.slow
def test_bursts_in_which_something_passes_are_measured_too(kernel: Kernel, tmp_path: Path) -> None:
    bursts = GilbertElliott(0.02, 0.2, loss_bad=0.8, loss_good=0.001)
    found = calibrated(kernel, tmp_path, Links(TEST, backbone=Link(delay_ms=15, loss=bursts)))
    assert not found.failures
    assert {"loss, share", "loss, mean run"} <= set(numbers(found, "backbone"))


@pytest.mark.slow
@pytest.mark.parametrize("too_big", ["reported", "lost"])
def test_a_small_mtu_is_said_or_not(kernel: Kernel, tmp_path: Path, too_big: str) -> None:
    link = Link(mtu_bytes=1280, too_big="lost" if too_big == "lost" else "reported")
    found = calibrated(kernel, tmp_path, Links(TEST, link))
    assert not found.failures
    assert [m.measured for n, m in numbers(found, "access").items() if "mtu" in n] == [1280, 1280]
    assert [vector.expected for vector in found.vectors] == [f"too big: {too_big}"]


@pytest.mark.slow
def test_a_link_changes_when_it_says(kernel: Kernel, tmp_path: Path) -> None:
    changes = (
        Change(rate_mbps=0.5, at_s=3),
        Change(delay_ms=45, at_s=6, gap_s=0.5, rate_mbps=1, down=Override(rate_mbps=2)),
        Change(loss=0.05, at_s=7),
    )
    access = Link(delay_ms=20, rate_mbps=6, changes=changes)
    found = calibrated(kernel, tmp_path, Links(TEST, access))
    assert not found.failures
    of_access = numbers(found, "access")
    assert of_access["change at 3 s, up"].measured == pytest.approx(3, abs=0.005)
    assert of_access["gap before change at 6 s, down"].measured == pytest.approx(5.5, abs=0.005)
    assert of_access["change at 6 s, down"].measured == pytest.approx(6, abs=0.005)
    later = numbers(found, "access from 7 s")
    assert later["delay_ms up"].requested == 45
    assert later["rate_mbps down"].requested == 2
    assert later["loss down"].requested == 0.05


def test_a_calm_link_that_is_said_to_have_bursts_is_out_of_tolerance(
    kernel: Kernel, tmp_path: Path
) -> None:
    """The judgement of one link, held against what another one did."""
    from testbed.tools.calibration.links import plan_links  # noqa: PLC0415

    one, other = (
        plan_links(Links(TEST, access=Link(delay_ms=5, loss=loss)))[0]
        for loss in (GilbertElliott(0.02, 0.4), 0.02 / 0.42)
    )
    part = profiles._Part("mine", other.tasks[1][0], one.tasks[1][1])
    trio.run(profiles._play, part, kernel, tmp_path / "job", 0)
    run = next(f for f in part.findings if isinstance(f, Measurement) and "run" in f.number)
    assert run.measured == pytest.approx(1.05, abs=0.1)
    assert not run.ok


def test_a_link_delivers_at_the_times_of_its_trace(kernel: Kernel, tmp_path: Path) -> None:
    """Two packets in some milliseconds, a pause, and an end that is the beginning again."""
    times_ms = [0, 4, 4, 4, 5, 90, 91, 700, 1500, 1500]
    for end in ("up", "down"):
        (tmp_path / f"mine.{end}").write_text("".join(f"{each}\n" for each in times_ms))
    access = Link(
        delay_ms=20,
        up=Override(trace=Trace(str(tmp_path / "mine")), queue_bytes=60_000),
        down=Override(trace=Trace(str(tmp_path / "mine"), loops=False)),
    )
    found = calibrated(kernel, tmp_path / "jobs", Links(TEST, access))
    assert not found.failures
    of_access = numbers(found, "access")
    # 400 rounds of 1.5 s: without the very first time, and with that at which round 401 begins.
    assert of_access["opportunities up, 0 to 600 s"].measured == 400 * len(times_ms) - 1 + 1
    assert of_access["opportunities down, 0 to 1.5 s"].measured == len(times_ms) - 1
    assert of_access["queue_bytes up"].requested == 60_000
    assert of_access["queue_packets down"].measured == 1000
    assert of_access["delay_ms up"].measured == pytest.approx(20, abs=0.01)


def test_a_link_that_follows_another_trace_is_out_of_tolerance(
    kernel: Kernel, tmp_path: Path
) -> None:
    """One millisecond too late, once in the trace: the judgement of one trace, held on another."""
    parts = []
    for name, times_ms in (("one", [5, 10, 15]), ("other", [5, 11, 15])):
        (tmp_path / name).write_text("".join(f"{each}\n" for each in times_ms))
        link = Link(up=Override(trace=Trace(str(tmp_path / name), loops=False)))
        tasks = trace_tasks("access", link, courses_of([link], LINK_FILES.models))
        parts.append(list(tasks)[-1])
    part = profiles._Part("mine", parts[1][0], parts[0][1])
    trio.run(profiles._play, part, kernel, tmp_path / "job", 0)
    [run] = [each for each in part.findings if isinstance(each, Measurement)]
    assert (run.requested, run.measured) == (3, 2)
    assert not run.ok
