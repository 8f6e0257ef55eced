"""Calls between two ends behind a box each: both suffer, and a transport carries both."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial

import pytest
import trio
from scipy.stats import binom

from testbed.censor.actions.drop import Drop
from testbed.censor.match import Match
from testbed.experiment.cell import Cell
from testbed.experiment.choosing import transport_choice, transport_names
from testbed.experiment.scenario import load_messenger
from testbed.guest.kernel.builder import Kernel
from testbed.record.observation import MiddleboxRecord
from testbed.record.results import RecordedCell, Run
from testbed.run.runner import Done, in_guest, run_cells
from tests.censor import captures
from tests.censor.packets import profile, rule
from tests.lab.conftest import quick, short_cell
from tests.lab.test_cells_in_guest import CPUS, conducted
from tests.transports.test_conformance import FIRST

pytestmark = pytest.mark.guest
RESTRICTED = "ru-calls-2025-08"
ALPHA = 1e-6
"""How seldom a bound would be missed if it held."""


def both_sides(
    messenger: str = "whatsapp",
    transport: str = "direct",
    censor: str = "open",
    duration_s: float = 6,
) -> Cell:
    cell = short_cell(messenger, "direct", censor, duration_s)
    return replace(cell, topology="both-sides", transport=transport_choice(transport))


def box(result: RecordedCell, name: str) -> MiddleboxRecord:
    return result.record.observation.middleboxes[name]


def test_the_losses_of_two_middleboxes_compound(kernel: Kernel, run: Run) -> None:
    drops = profile(rule("drop", Match(protocol="udp"), Drop(0.2)))
    [result] = conducted(kernel, run, replace(both_sides(), censor=drops))
    for direction in run.frames(result).values():
        sent, received = len(direction.sent_s), len(direction.received)
        assert sent == 300
        low, high = binom.interval(1 - ALPHA, sent, (1 - 0.2) ** 2)
        assert low <= received <= high


def test_the_inside_of_each_middlebox_is_its_own_end(kernel: Kernel, run: Run) -> None:
    """What goes up is dropped once, at the box of the end that sent it; captures tell the same."""
    drops = profile(rule("drop", Match(protocol="udp", direction="up"), Drop(0.2)))
    cell = replace(both_sides(duration_s=3), censor=drops)
    ended: list[Done] = []
    trio.run(
        partial(run_cells, pcap="middlebox"), run, [cell], in_guest(kernel), CPUS[:1], ended.append
    )
    [done] = ended
    assert done.result is not None, done.failure
    both = run.frames(done.result)
    for name, way, network in (("middlebox", "up", "10.1."), ("middlebox2", "down", "10.3.")):
        lost = len(both[way].sent_s) - len(both[way].received)
        low, high = binom.interval(1 - ALPHA, len(both[way].sent_s), 0.2)
        assert low <= lost <= high
        # Of the set-up some was dropped, too.
        assert 0 <= box(done.result, name).rules["drop"]["dropped"] - lost < 10
        files = [done.result.folder / f"{name}-{side}.pcap" for side in ("inside", "outside")]
        inside, outside = (
            [p for _, p in captures.packets(file) if p.protocol == "udp"] for file in files
        )
        assert all(str(p.source).startswith((network, "10.2.")) for p in inside)
        # Payloads: a checksum may be the device's to fill in.
        came, left = (Counter((str(p.source), p.payload) for p in ps) for ps in (inside, outside))
        missing = came - left
        assert missing.total() == box(done.result, name).rules["drop"]["dropped"]
        assert {source[:5] for source, _ in missing} == {network}
    flows = [flow for _, flow, _ in done.result.record.observation.events]
    assert any(flow.startswith("middlebox: udp 10.1.") for flow in flows)
    assert any(flow.startswith("middlebox2: udp 10.3.") for flow in flows)


def test_traffic_within_the_country_crosses_no_middlebox(kernel: Kernel, run: Run) -> None:
    [result] = conducted(kernel, run, both_sides("max", censor=RESTRICTED, duration_s=1))
    assert result.record.verdict.label == "good"
    assert box(result, "middlebox").packets_asked == 0
    assert box(result, "middlebox2").packets_asked == 0


@pytest.mark.parametrize(
    "messenger", quick(["signal-p2p", "webrtc-p2p-model", "telegram-p2p-model"], "webrtc-p2p-model")
)
def test_ends_that_reach_each_other_use_no_relay(kernel: Kernel, run: Run, messenger: str) -> None:
    """Both boxes see their packets, the relay none, and what an end's box drops is lost."""
    drops = profile(rule("drop", Match(protocol="udp", direction="up"), Drop(0.1)))
    cell = replace(both_sides("max", duration_s=4), messenger=load_messenger(messenger))
    [result] = conducted(kernel, run, replace(cell, censor=drops))
    states = result.record.observation.call.states
    assert [state for _, _, state in states][-1] == "by peer"
    flows = {flow for _, flow, _ in result.record.observation.events}
    assert any("10.1.1.1" in flow and "10.3.1.1" in flow for flow in flows)
    for name, way in (("middlebox", "up"), ("middlebox2", "down")):
        direction = run.frames(result)[way]
        sent, received = len(direction.sent_s), len(direction.received)
        low, high = binom.interval(1 - ALPHA, sent, 0.9)
        assert low <= received <= high
        assert box(result, name).rules["drop"]["dropped"] >= sent - received


def test_traffic_between_the_ends_is_restricted_by_both_middleboxes(
    kernel: Kernel, run: Run
) -> None:
    cell = both_sides("max", censor=RESTRICTED, duration_s=4)
    [result] = conducted(kernel, run, replace(cell, messenger=load_messenger("telegram-p2p-model")))
    for name in ("middlebox", "middlebox2"):
        assert box(result, name).rules["stun"]["dropped"] > 0
    assert result.record.verdict.label not in ("good", "usable")


def test_where_the_ends_do_not_reach_each_other_the_relay_is_used(kernel: Kernel, run: Run) -> None:
    to_ends = Match(protocol="udp", servers=("10.1.0.0/16", "10.3.0.0/16"))
    blocked = profile(rule("peers", to_ends, Drop(1.0)))
    cell = replace(both_sides("max", duration_s=4), messenger=load_messenger("signal-p2p"))
    [result] = conducted(kernel, run, replace(cell, censor=blocked))
    assert [s for _, _, s in result.record.observation.call.states][-1] == "by udp"


QUICK = ("udp_over_tls", "wireguard")
RECOGNISED = ("direct", "snowflake", "turn", "desync", "nfqueue", "proxy")
"""What a box takes for a call by its STUN: these are tried without a restriction."""


@pytest.mark.parametrize(
    "transport",
    [
        pytest.param(FIRST.get(name, name), marks=() if name in QUICK else pytest.mark.slow)
        for name in transport_names()
    ],
)
def test_a_transport_carries_both_ends(kernel: Kernel, run: Run, transport: str) -> None:
    """No box recognises the call, and each has seen a connection of the transport."""
    name = transport.partition(" ")[0]
    censor = "open" if name in RECOGNISED else RESTRICTED
    cell = both_sides(transport=transport, censor=censor, duration_s=3)
    [result] = conducted(kernel, run, cell)
    assert result.record.verdict.label in ("good", "usable"), result.record.observation.call.reason
    for name in ("middlebox", "middlebox2"):
        assert box(result, name).packets_asked > 0
        assert not any(counts["matched"] for counts in box(result, name).rules.values())


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["direct", "wireguard"])
def test_the_real_engine_calls_from_behind_two_middleboxes(
    kernel: Kernel, run: Run, transport: str
) -> None:
    [result] = conducted(kernel, run, both_sides("telegram", transport, duration_s=2))
    for way, direction in run.frames(result).items():
        assert len(direction.received) == len(direction.sent_s) > 30
        assert result.record.by_playout[way].figures.concealed_share == 0
        # By its sound, within what that tells (tests/call/test_listening.py).
        assert result.record.directions[way].concealed_share <= 0.02
    assert all(box(result, name).packets_asked > 0 for name in ("middlebox", "middlebox2"))
