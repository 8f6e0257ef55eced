"""Voice message, page and download beside a call in guests: done, or harmed as they would be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from testbed.call.quality.verdict import Verdict
from testbed.experiment.cell import TRAFFIC
from testbed.experiment.scenario import load_censor
from testbed.guest.kernel.builder import Kernel
from testbed.record.results import Run
from testbed.show.run_tables import rows, traffic_table
from tests.lab.conftest import short_cell
from tests.lab.test_cells_in_guest import conducted

pytestmark = pytest.mark.guest


def test_other_traffic_is_done_and_a_freeze_of_foreign_tls_harms_it_alone(
    kernel: Kernel, run: Run
) -> None:
    cell = replace(short_cell("whatsapp", "direct", "open"), other_traffic=tuple(TRAFFIC))
    frozen = replace(cell, censor=load_censor("ru-16kb-2025"))
    free, harmed = conducted(kernel, run, cell, frozen)
    assert list(free.record.traffic) == ["voice message", "web page", "download"]
    for kind, exchange in TRAFFIC.items():
        one = free.record.traffic[kind]
        assert one.took_s is not None
        assert one.done
        payload_bits = 8 * sum(up + down for up, down in exchange.objects)
        assert one.goodput_bps == pytest.approx(payload_bits / one.took_s, rel=0.01)
    # Four round trips of 80 ms by TCP, TLS and its request, and what slow start takes.
    took_s = free.record.traffic["download"].took_s
    assert took_s is not None
    assert 0.15 < took_s < 1.5
    assert not harmed.record.traffic["web page"].done
    assert not harmed.record.traffic["download"].done
    assert harmed.record.chat.delivered == harmed.record.chat.sent
    assert [row.verdicts for row in rows([free, harmed])] == [{Verdict.GOOD: 1}] * 2
    # What a transport costs does not count it.
    first, second = (r.record.observation.transport.call for r in (free, harmed))
    assert first == second
    table = traffic_table([free, harmed])
    assert table is not None
    assert table.row_count == 2


def test_without_other_traffic_there_is_no_table_of_it(kernel: Kernel, run: Run) -> None:
    results = conducted(kernel, run, short_cell("max", "direct", "open", duration_s=1))
    assert results[0].record.traffic == {}
    assert traffic_table(results) is None
