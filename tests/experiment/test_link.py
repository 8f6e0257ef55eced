"""Links: what a file may say of them, and what each direction is at each time."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.censor.packet import Direction
from testbed.evidence import Evidence
from testbed.experiment.explanations import ScenarioError
from testbed.experiment.link import Change, GilbertElliott, Link, Override
from testbed.experiment.linkset import LinkSet
from testbed.experiment.scenario import LINK_FILES

ASSUMED = Evidence("a test", "assumed")
EVIDENCE = '[evidence]\naccess = { source = "a test", confidence = "assumed" }\n'


def written(folder: Path, access: str) -> str:
    """Write a link set whose access line has these keys, and return its name."""
    path = folder / "mine.toml"
    path.write_text(f'title = "mine"\n[access]\n{access}\n{EVIDENCE}')
    return str(path.with_suffix(""))


def test_a_file_says_what_differs_in_each_direction_and_when(tmp_path: Path) -> None:
    keys = """
delay_ms = 30
rate_mbps = 6
up = { rate_mbps = 1, queue_bytes = 30000 }
down = { loss = { to_bad = 0.01, to_good = 0.5 }, jitter_ms = 40, jitter_kind = "exponential" }
mtu_bytes = 1280
too_big = "lost"
[[access.changes]]
at_s = 12
rate_mbps = 0.5
down = { rate_mbps = 2 }
[[access.changes]]
at_s = 20
gap_s = 1.5
delay_ms = 60
"""
    access = LINK_FILES.link_set(written(tmp_path, keys)).links.access
    up, down = (access.direction(each) for each in Direction)
    assert (up.rate_mbps, up.queue_bytes, up.loss) == (1, 30_000, 0)
    assert (down.rate_mbps, down.queue_bytes) == (6, None)
    assert down.loss_share == pytest.approx(1 / 51)
    course = [
        (change.at_s, now.rate_mbps, now.delay_ms) for change, now in access.phases(Direction.DOWN)
    ]
    assert course == [(12, 2, 30), (20, 2, 60)]
    course = [
        (change.at_s, now.rate_mbps, now.delay_ms) for change, now in access.phases(Direction.UP)
    ]
    assert course == [(12, 0.5, 30), (20, 0.5, 60)]
    assert access.changes[1].gap_s == 1.5


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("up = { rate = 1 }", r"access\.up\.rate: Unexpected key, expected of .*rate_mbps"),
        ("jitter_ms = 3", r"access: .*jitter_ms <= delay_ms.*\"exponential\" has no such limit"),
        ("up = { jitter_ms = 3 }", r"access: .*jitter_ms <= delay_ms"),
        ("loss = { to_bad = 0, to_good = 1 }", r"access\.loss: .*to_bad, to_good: probabilities"),
        ("loss = { to_bad = 0.1, to_good = 1, loss_bad = 2 }", r"loss_good < loss_bad <= 1"),
        ("queue_bytes = 100", r"queue_bytes: at least 1514"),
        ("mtu_bytes = 100", r"mtu_bytes: 576 to 1500"),
        ("changes = [{ at_s = 5 }, { at_s = 4 }]", r"changes: each must begin, .*after the one"),
        ("changes = [{ at_s = 5 }, { at_s = 6, gap_s = 2 }]", r"changes: each must begin"),
        ("changes = [{ at_s = 1, gap_s = 2 }]", r"0 <= gap_s <= at_s"),
        ("changes = [{ at_s = 1, loss = 1.5 }]", r"loss: 1.5 is not a share"),
        ('changes = [{ at_s = 1, jitter_kind = "exponential" }]', r"jitter_kind stays the same"),
        ("changes = [{ rate_mbps = 5 }]", r"access\.changes.*at_s"),
    ],
)
def test_a_wrong_link_names_the_key_and_what_was_expected(
    tmp_path: Path, keys: str, said: str
) -> None:
    with pytest.raises(ScenarioError, match=said):
        LINK_FILES.link_set(written(tmp_path, keys))


@pytest.mark.parametrize(
    ("link", "evidence", "said"),
    [
        (Link(up=Override(rate_mbps=3)), {"access.down"}, r"missing for \['access.up.rate_mbps'\]"),
        (
            Link(up=Override(rate_mbps=3)),
            {"access.up", "access.down"},
            r"for missing numbers: \['access.down'\]",
        ),
        (Link(changes=(Change(at_s=3),)), {"access.loss"}, r"missing for \['access.changes'\]"),
    ],
)
def test_each_direction_needs_its_sources(link: Link, evidence: set[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        LinkSet("t", dict.fromkeys(evidence, ASSUMED), access=link)


@pytest.mark.parametrize("key", ["access", "access.up", "access.up.rate_mbps"])
def test_a_source_may_be_for_a_value_a_direction_or_a_link(key: str) -> None:
    LinkSet("t", {key: ASSUMED}, access=Link(up=Override(rate_mbps=3)))


probabilities = st.floats(0.01, 1)


@given(probabilities, probabilities, st.floats(0.5, 1), st.floats(0, 0.4))
def test_the_share_and_the_runs_of_bursts_are_those_of_their_chain(
    to_bad: float, to_good: float, loss_bad: float, loss_good: float
) -> None:
    """By the chain of states itself: P(lost), and P(lost after lost)."""
    bursts = GilbertElliott(to_bad, to_good, loss_bad, loss_good)
    stay = {True: 1 - to_good, False: to_bad}
    loss = {True: loss_bad, False: loss_good}
    share = {True: bursts.bad_share, False: 1 - bursts.bad_share}
    lost = sum(share[bad] * loss[bad] for bad in share)
    twice = sum(
        share[bad] * loss[bad] * (stay[bad] * loss_bad + (1 - stay[bad]) * loss_good)
        for bad in share
    )
    assert bursts.share == pytest.approx(lost)
    assert bursts.mean_run == pytest.approx(1 / (1 - twice / lost))
