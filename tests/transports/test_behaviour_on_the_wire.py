"""What parameters of tunnels change on the wire: rates, congestion control, ports, connections."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import trio

from testbed.censor.packet import Direction, Packet
from testbed.experiment.choosing import load_transport, transport_choice
from testbed.experiment.loading import programs_of
from testbed.guest.kernel.builder import Kernel
from testbed.guest.programs import missing
from testbed.record.results import RecordedCell, Run
from testbed.run.certificate import write_certificates
from testbed.run.runner import Done, Needs, in_guest, run_cells, run_module
from tests.censor import captures
from tests.lab.conftest import short_cell
from tests.lab.programs import flooding

BRIDGE = bytes((10, 2, 2, 2))
pytestmark = [pytest.mark.guest, pytest.mark.slow]


def flooded_mbps(name: str, kernel: Kernel, job: Path) -> float:
    """Return the rate at which 4.4 Mbit/s come out of a transport on a path that loses 5 %."""
    choice = transport_choice(name)
    job.mkdir()
    (job / flooding.CHOICE).write_bytes(pickle.dumps(choice))
    write_certificates(job)
    needs = Needs(tuple(programs_of(load_transport(choice))), is_foreign=True)
    module = flooding.__name__
    trio.run(partial(run_module, kernel, module, job, seed=1, cpu=0, needs=needs))
    rate: float = json.loads((job / flooding.FOUND).read_text())
    return rate


def test_brutal_sends_at_the_given_rate_whatever_is_lost(kernel: Kernel, tmp_path: Path) -> None:
    slow = flooded_mbps("hysteria2 {up_mbps = 1, down_mbps = 1}", kernel, tmp_path / "slow")
    faster = flooded_mbps("hysteria2 {up_mbps = 3, down_mbps = 3}", kernel, tmp_path / "faster")
    assert 0.7 < slow < 1.2
    assert 2.1 < faster < 3.6


def test_a_client_that_hops_uses_several_ports_and_its_call_goes_on(
    kernel: Kernel, run: Run
) -> None:
    hopping, staying = called(
        ("hysteria2 {hop_ports = 20, hop_every_s = 5}", "hysteria2"), kernel, run, 14
    )
    for result in (hopping, staying):
        assert result.record.verdict.label == "good"
    assert ports(staying) == {443}
    assert 2 <= len(ports(hopping)) <= 4, "one port each 5 s"
    assert all(20000 <= port < 20020 for port in ports(hopping))


def test_bbr_holds_its_rate_where_new_reno_takes_losses_for_congestion(
    kernel: Kernel, tmp_path: Path
) -> None:
    reno = flooded_mbps("tuic {congestion = new_reno}", kernel, tmp_path / "reno")
    bbr = flooded_mbps("tuic {congestion = bbr}", kernel, tmp_path / "bbr")
    assert bbr > 2 * reno


def test_mux_puts_what_a_call_sends_into_one_connection(kernel: Kernel, run: Run) -> None:
    names = ("xray", "xray {mux = true}")
    if lacks := missing(programs_of(load_transport(transport_choice("xray")))):
        pytest.skip(str(lacks))
    one_each, shared = called(names, kernel, run, 3)
    assert (connections(one_each), connections(shared)) == (2, 1)


def called(names: Sequence[str], kernel: Kernel, run: Run, duration_s: float) -> list[RecordedCell]:
    """Return a call through each transport, with what crossed the middlebox."""
    cell = short_cell("whatsapp", "direct", "open", duration_s=duration_s)
    cells = [replace(cell, transport=transport_choice(name)) for name in names]
    done: list[Done] = []
    conduct = in_guest(kernel)
    trio.run(partial(run_cells, run, cells, conduct, [0], done.append, pcap="middlebox"))
    assert not [each.failure for each in done if each.failure]
    return [each.result for each in done if each.result is not None]


def ports(result: RecordedCell) -> set[int]:
    """Return the UDP ports of the bridge to which packets went."""
    return {packet.destination.port for packet in sent(result) if packet.protocol == "udp"}


def connections(result: RecordedCell) -> int:
    """Return how many connections to the bridge's port 443 were opened."""
    return len({packet.source for packet in sent(result) if packet.protocol == "tcp"})


def sent(result: RecordedCell) -> list[Packet]:
    found = (packet for _, packet in captures.packets(result.folder / "middlebox-inside.pcap"))
    ours = [p for p in found if p.direction is Direction.UP and p.destination.address == BRIDGE]
    assert ours
    return ours
