"""A bridge inside the country, which reaches the outside past the middlebox."""

from __future__ import annotations

from dataclasses import replace

import pytest

from testbed.experiment.cell import Cell, Topology
from testbed.experiment.choosing import transport_choice
from testbed.experiment.scenario import load_censor
from testbed.guest.kernel.builder import Kernel
from testbed.record.results import Run
from tests.lab.conftest import short_cell
from tests.lab.test_cells_in_guest import conducted

pytestmark = pytest.mark.guest
LISTED_ONLY = "ru-whitelist-mobile"


def call(transport: str, topology: Topology) -> Cell:
    cell = short_cell("whatsapp", "direct", "open", duration_s=3)
    return replace(
        cell,
        transport=transport_choice(transport),
        censor=load_censor(LISTED_ONLY),
        topology=topology,
        compares_topologies=True,
    )


def test_a_listed_bridge_carries_calls_where_one_abroad_carries_none(
    kernel: Kernel, run: Run
) -> None:
    abroad, inside = conducted(
        kernel, run, call("turn", "one-sided"), call("turn", "domestic-bridge")
    )
    assert abroad.record.verdict.label in ("unusable", "no call")
    assert inside.record.verdict.label == "good"
    flows = [flow for _, flow, _ in inside.record.observation.events]
    assert not [flow for flow in flows if flow.startswith("udp") and "10.2.3.2" in flow]


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["wireguard", "wireguard through turn"])
def test_a_tunnel_to_a_listed_bridge_carries_calls(
    kernel: Kernel, run: Run, transport: str
) -> None:
    [result] = conducted(kernel, run, call(transport, "domestic-bridge"))
    assert result.record.verdict.label == "good"


@pytest.mark.slow
def test_without_a_transport_a_bridge_inside_changes_nothing(kernel: Kernel, run: Run) -> None:
    [result] = conducted(kernel, run, call("direct", "domestic-bridge"))
    assert result.record.verdict.label in ("unusable", "no call")
