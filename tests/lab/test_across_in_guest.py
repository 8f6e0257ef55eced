"""The middlebox in a real guest: IPv6, fragments, and flows that the kernel forwards alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from testbed.guest.kernel.builder import Kernel
from testbed.run.runner import Needs, run_module
from testbed.tools.bench_record import Way
from testbed.tools.forwarding import FORWARD_FILE, FORWARDED_FILE

pytestmark = pytest.mark.guest


def in_guest(kernel: Kernel, module: str, folder: Path) -> None:
    async def boot() -> None:
        needs = Needs(is_foreign=True)  # the module may be one of the tests
        await run_module(kernel, module, folder, seed=1, cpu=0, needs=needs)

    trio.run(boot)


@pytest.fixture(scope="module")
def found(kernel: Kernel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came through a middlebox that resets a web server and looks for STUN."""
    folder = tmp_path_factory.mktemp("across")
    in_guest(kernel, "tests.lab.programs.across", folder)
    content: dict[str, Any] = json.loads((folder / "found.json").read_text())
    return content


@pytest.mark.parametrize("version", [4, 6])
def test_datagrams_cross_whole_in_both_versions_of_ip(found: dict[str, Any], version: int) -> None:
    assert found[f"small {version}"] == [5, 5]


@pytest.mark.parametrize("version", [4, 6])
def test_the_middlebox_sees_fragments_as_one_packet_and_passes_them_on(
    found: dict[str, Any], version: int
) -> None:
    assert found[f"large {version}"] == [4020, 4020]
    recognised = [flow for flow, what in found["events"] if what == "recognised as stun"]
    assert sum(flow.startswith("udp [fd00:") for flow in recognised) == 1
    assert sum(flow.startswith("udp 10.") for flow in recognised) == 1


def test_overlapping_fragments_are_no_packet_and_do_not_stop_the_middlebox(
    found: dict[str, Any],
) -> None:
    """Linux drops what overlaps (RFC 5722, also for IPv4), before the box is asked."""
    assert found["overlapping"] == [None, 5]


def test_a_connection_over_ipv6_is_reset(found: dict[str, Any]) -> None:
    assert found["reset 6"] == "reset"
    assert found["rules"]["web"]["made"] == 2


@pytest.mark.parametrize("version", [4, 6])
def test_a_datagram_is_answered_by_icmp(found: dict[str, Any], version: int) -> None:
    assert found[f"refused {version}"] == "refused"
    assert found["rules"]["refused"] == {"matched": 2, "dropped": 2, "late": 0, "made": 2}


@pytest.mark.parametrize(("way", "asked"), [("kernel", 0), ("settled", 1), ("python", 2000)])
def test_a_settled_flow_costs_the_censor_one_question(
    kernel: Kernel, tmp_path: Path, way: Way, asked: int
) -> None:
    (tmp_path / FORWARD_FILE).write_text(json.dumps({"way": way, "packets": 2000}))
    in_guest(kernel, "testbed.tools.forwarding", tmp_path)
    counted = json.loads((tmp_path / FORWARDED_FILE).read_text())
    assert counted == {"arrived": 2000, "asked": asked}


def test_held_packets_leave_on_time_and_the_middlebox_can_end_and_start_again(
    kernel: Kernel, tmp_path: Path
) -> None:
    """To a few system calls of 5 us each; Linux gives ordinary threads 500 us on 500 ms."""
    in_guest(kernel, "tests.lab.programs.held", tmp_path)
    found = json.loads((tmp_path / "found.json").read_text())
    assert max(found["0"]) < 0.0001
    held = [late - at_once for late, at_once in zip(found["500"], found["0"], strict=True)]
    assert all(0.5 <= delay < 0.50002 for delay in held)
