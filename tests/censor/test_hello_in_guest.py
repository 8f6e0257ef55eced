"""Real programs whose ClientHello takes two segments, as post-quantum key shares make it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio

from testbed.censor.profile import Profile
from testbed.experiment.cell import Cell
from testbed.experiment.choosing import transport_choice
from testbed.experiment.scenario import load_censor
from testbed.guest.kernel.builder import Kernel
from testbed.record.results import RecordedCell, Run
from testbed.run.runner import Done, in_guest, run_cells
from tests.censor.test_middlebox_in_guest import CPUS
from tests.lab.conftest import short_cell

pytestmark = pytest.mark.guest
NAME = "www.bridge.*"
"""The server name of the lab's transports."""


def naming(profile: Profile, name: str) -> Profile:
    """Put a name on a profile's list."""
    rules = [
        replace(rule, match=replace(rule.match, sni=(name,))) if rule.match.sni else rule
        for rule in profile.rules
    ]
    return replace(profile, rules=tuple(rules))


def call(kernel: Kernel, run: Run, censor: Profile) -> RecordedCell:
    """Conduct a WhatsApp call by VLESS."""
    cell: Cell = short_cell("whatsapp", "direct", "open", duration_s=12)
    cells = [replace(cell, transport=transport_choice("vless_ws_tls"), censor=censor)]
    ended: list[Done] = []
    trio.run(run_cells, run, cells, in_guest(kernel), CPUS, ended.append)
    [done] = ended
    assert done.result is not None, done.failure
    return done.result


def test_vless_freezes_after_16_kilobytes(kernel: Kernel, run: Run) -> None:
    """As net4people/bbs 490 says of it."""
    result = call(kernel, run, load_censor("ru-16kb-2025"))
    assert result.record.verdict.label == "unusable"
    assert result.record.observation.rules["foreign"]["dropped"]


def test_vless_with_a_listed_name_is_not_throttled(kernel: Kernel, run: Run) -> None:
    result = call(kernel, run, naming(load_censor("ru-whitelist-mobile"), NAME))
    assert result.record.verdict.label == "good"
    rules = result.record.observation.rules
    assert not rules["rest"]["dropped"]
    assert rules["listed-names"]["matched"]
