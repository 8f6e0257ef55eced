"""Calls by a real engine's ICE between people behind NATs: directly or by the relay."""

from __future__ import annotations

from dataclasses import replace

import pytest

from testbed.experiment.scenario import LINK_FILES
from testbed.guest.kernel.builder import Kernel
from testbed.record.observation import read_frames
from testbed.record.results import Run
from tests.lab.conftest import short_cell
from tests.lab.test_cells_in_guest import conducted

pytestmark = pytest.mark.guest


@pytest.mark.parametrize(
    ("nats", "way"),
    [
        ("port-restricted and port-restricted", "by peer"),
        ("symmetric and port-restricted", "by relay"),
    ],
)
def test_ends_behind_nats_reach_each_other_as_their_nats_allow(
    kernel: Kernel, run: Run, nats: str, way: str
) -> None:
    """RFC 5128, 3.4: a symmetric NAT meets a port-restricted one, and holes do not match."""
    links = LINK_FILES.links(f"home-fibre behind {nats}")
    cell = replace(short_cell("telegram-p2p", "direct", "open", duration_s=6), links=links)
    [result] = conducted(kernel, run, cell)
    call = result.record.observation.call
    assert call.outcome == "completed"
    assert [what for _, who, what in call.states if who == "call"] == [way]
    for direction in read_frames(result.folder / "frames.csv").values():
        assert len(direction.received) == len(direction.sent_s) > 50
