"""The middlebox in a real guest: what the censor says happens to real packets, at its time."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest
import trio

from testbed.call.quality.verdict import Verdict
from testbed.censor.action import Action
from testbed.censor.actions.delay import Delay
from testbed.censor.actions.duplicate import Duplicate
from testbed.censor.actions.reset import Reset
from testbed.censor.actions.shape import Shape
from testbed.censor.match import Match
from testbed.censor.profile import Inspection, Profile
from testbed.censor.stack import AnyCensor, in_series
from testbed.experiment.cell import Cell
from testbed.experiment.choosing import transport_choice
from testbed.guest.kernel.builder import Kernel
from testbed.record.results import RecordedCell, Run
from testbed.run.runner import Done, in_guest, run_cells
from tests.censor.packets import joining, profile, rule
from tests.lab.conftest import short_cell

pytestmark = pytest.mark.guest
UDP = Match(protocol="udp")
CPUS = sorted(os.sched_getaffinity(0))
DYING = str(Path(__file__).parents[1] / "lab" / "programs" / "dying.py")


def through(
    kernel: Kernel,
    run: Run,
    name: str,
    match: Match,
    action: Action,
    inspection: Inspection | None = None,
) -> RecordedCell:
    """Conduct a short WhatsApp call through a box with one rule, over links without jitter."""
    return under(kernel, run, one_rule(name, match, action, inspection))


def one_rule(
    name: str, match: Match, action: Action, inspection: Inspection | None = None
) -> Profile:
    return replace(profile(rule("r", match, action), inspection=inspection), name=name)


def under(kernel: Kernel, run: Run, censor: AnyCensor) -> RecordedCell:
    cell: Cell = short_cell("whatsapp", "direct", "open", duration_s=3)
    still = {
        each: replace(getattr(cell.links, each), jitter_ms=0.0)
        for each in ("access", "domestic", "backbone", "hosting", "callee_access")
    }
    ended: list[Done] = []
    cells = [replace(cell, censor=censor, links=replace(cell.links, **still))]
    trio.run(run_cells, run, cells, in_guest(kernel), CPUS, ended.append)
    [done] = ended
    assert done.result is not None, done.failure
    return done.result


def counters(result: RecordedCell) -> dict[str, int]:
    return result.record.observation.rules["r"]


def test_a_delay_is_exact_to_half_a_millisecond_and_holds_nothing_else(
    kernel: Kernel, run: Run
) -> None:
    delay = Delay(delay_ms=50.3)
    result = through(kernel, run, "delay", UDP, delay)
    links = short_cell("whatsapp", "direct", "open").links
    path_s = (links.access.delay_ms + links.backbone.delay_ms + links.hosting.delay_ms * 2) / 1000
    path_s += links.callee_access.delay_ms / 1000 + 0.0503
    for direction in run.frames(result).values():
        assert len(direction.received) == 150
        for index, at in direction.received:
            assert path_s < at - direction.sent_s[index] < path_s + 500e-6
    assert counters(result)["late"] == counters(result)["matched"]
    assert result.record.chat.median_s is not None
    assert result.record.chat.median_s < 0.05


def test_a_shaper_queues_and_a_duplicate_arrives_twice(kernel: Kernel, run: Run) -> None:
    result = through(kernel, run, "shape", UDP, Shape(rate_bps=30_000, queue_bytes=3000))
    late = [
        at - direction.sent_s[index]
        for direction in run.frames(result).values()
        for index, at in direction.received
    ]
    assert 0.5 < median(late) < 1.0
    assert counters(result)["dropped"] > 20
    result = through(kernel, run, "twice", UDP, Duplicate(probability=1.0))
    for direction in run.frames(result).values():
        assert len(direction.received) == 300
    assert counters(result)["made"] == counters(result)["matched"]


def test_packets_that_one_part_holds_meet_the_next_at_their_time(kernel: Kernel, run: Run) -> None:
    """Each is held for 50 ms, and then sent twice; held again for 10 ms, as all that comes down."""
    up = Match(protocol="udp", direction="up")
    parts = (
        one_rule("holds", up, Delay(delay_ms=50.0)),
        one_rule("copies", up, Duplicate(probability=1.0)),
        one_rule("holds again", UDP, Delay(delay_ms=10.0)),
    )
    result = under(kernel, run, in_series(parts))
    rules = result.record.observation.rules
    assert rules["holds: r"]["late"] == rules["holds: r"]["matched"] > 150
    assert rules["copies: r"]["matched"] == rules["holds: r"]["matched"]
    assert rules["copies: r"]["made"] == rules["copies: r"]["matched"]
    assert rules["holds again: r"]["late"] > 2 * rules["copies: r"]["made"]
    frames = run.frames(result)
    assert [len(frames[way].received) for way in ("up", "down")] == [300, 150]
    delays_s = {
        way: median(at - d.sent_s[index] for index, at in d.received) for way, d in frames.items()
    }
    assert 0.0500 <= delays_s["up"] - delays_s["down"] < 0.0505
    of_parts = {flow.partition(": ")[0] for _, flow, _ in result.record.observation.events}
    assert of_parts == {"holds", "copies", "holds again"}


def test_a_reset_ends_the_connection_at_both_ends(kernel: Kernel, run: Run) -> None:
    chat = Match(protocol="tcp", sni=("*.messenger.example",))
    # A hello with a post-quantum key share takes two segments.
    result = through(kernel, run, "reset", chat, Reset(), joining("tcp-segments"))
    assert result.record.chat.sent == 0
    # The hello's second segment, and the answer to its first one.
    assert counters(result) == {"matched": 2, "dropped": 2, "late": 0, "made": 4}
    assert result.record.verdict.label == "good"


def test_datagrams_that_die_on_their_way_do_not_turn_the_censor_off(
    kernel: Kernel, run: Run
) -> None:
    """Two with a time to live of 4 on the call's flow: the router behind the box tells of them."""
    cell: Cell = short_cell("whatsapp", "direct", "ru-calls-2025-08")
    cells = [cell, replace(cell, transport=transport_choice(DYING))]
    ended: list[Done] = []
    trio.run(run_cells, run, cells, in_guest(kernel), CPUS, ended.append)
    found = {done.result.record.transport: done.result.record for done in ended if done.result}
    verdicts = {name: record.verdict for name, record in found.items()}
    assert verdicts == {"direct": Verdict.UNUSABLE, "dying": Verdict.UNUSABLE}
    asked = {name: record.observation.packets_asked for name, record in found.items()}
    assert asked["dying"] > 0.9 * asked["direct"]
