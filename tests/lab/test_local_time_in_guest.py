"""The time of day in a real guest: the box of a cell goes by it, and the record names it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from testbed.censor.match import Match
from testbed.experiment.scenario import load_censor
from testbed.guest.kernel.builder import Kernel
from testbed.record.results import Run
from tests.lab.conftest import short_cell
from tests.lab.test_cells_in_guest import conducted

pytestmark = pytest.mark.guest


def test_a_cell_begins_at_its_local_time(kernel: Kernel, run: Run) -> None:
    blocked = load_censor("udp-blocked")
    [rule] = blocked.rules
    evidence = {**rule.evidence, "share": rule.evidence["match"]}
    at_night = Match(protocol="udp", share={5: 1.0, 9: 0.0})
    by_hour = replace(blocked, rules=(replace(rule, match=at_night, evidence=evidence),))
    cells = [
        replace(
            short_cell("whatsapp", "direct", "open", 2.0),
            censor=replace(by_hour, name=f"by-hour at {at}"),
            local_time=at,
        )
        for at in ("05:00", "20:00")
    ]
    night, evening = conducted(kernel, run, *cells)
    assert (night.record.verdict.label, evening.record.verdict.label) == ("no call", "good")
    assert night.record.censor == "by-hour at 05:00"
