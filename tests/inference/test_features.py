"""An emulator is given what can matter in its setting, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from testbed.experiment.hypotheses import load_family
from testbed.inference.features import Features, changed, choices_at, learnt
from tests.inference.small import FAMILY, family

SECOND_RULE = """
[parameters.ports]
title = "calls are recognised by ports"
choices = { yes = 0.5, no = 0.5 }
reason = "a test"

[[rules]]
name = "ports"
when = { ports = "yes" }
match = { protocol = "udp", server_ports = ["3478"] }
action = { kind = "drop", probability = "$drop" }
reason = "a test"
"""
STUN, NO_STUN = 0.2, 0.7


def test_numbers_of_rules_that_are_not_there_are_not_given(tmp_path: Path) -> None:
    points = np.array([[STUN, 0.25, 0.9], [NO_STUN, 0.25, 0.9]])
    given = Features(family(tmp_path), "whatsapp", ("stun",))(points)
    assert given.tolist() == [[1, 0.25, 1], [0, 0, 0]]


def test_of_a_setting_that_meets_no_rule_nothing_is_given(tmp_path: Path) -> None:
    points = np.array([[STUN, 0.25, 0.9], [NO_STUN, 0.25, 0.9]])
    assert Features(family(tmp_path), "whatsapp")(points).tolist() == [[0], [0]]


def test_a_parameter_that_never_changed_a_call_is_not_given(tmp_path: Path) -> None:
    points = np.array([[STUN, 0.25, 0.9]])
    idle = Features(family(tmp_path), "whatsapp", ("stun",), idle=frozenset({"depth"}))
    assert idle.open == ["depth"]
    assert idle(points).tolist() == [[1, 0.25]]


def test_a_rule_that_an_earlier_one_leaves_nothing_is_hidden_where_both_are(tmp_path: Path) -> None:
    path = tmp_path / "two.toml"
    text = FAMILY.format(alike="0, 0", wrong=0.2)
    path.write_text(text.replace("[inspection]", SECOND_RULE + "\n[inspection]"))
    two = load_family(str(path))
    points = np.array([[s, 0.5, 0.2, 0.2] for s in (STUN, NO_STUN) for _ in range(6)])
    points[:, 1] = np.linspace(0, 1, 12)
    found = learnt(two, "whatsapp", points, [("stun",)] * 6 + [("ports",)] * 6)
    assert found.hidden_by == {"stun": (), "ports": ("stun",)}
    assert found(points[:1])[0].tolist() == [1, 0, 0, 0, 0]
    assert found(points[-1:])[0].tolist() == [0, 0, 1, 1, 0]
    both = [("stun", "ports")] * 6 + [("ports",)] * 6
    assert learnt(two, "whatsapp", points, both).hidden_by["ports"] == ()


def test_a_changed_point_differs_in_one_parameter(tmp_path: Path) -> None:
    small = family(tmp_path)
    point = np.array([STUN, 0.25, 0.9])
    other = changed(small, point, "depth", 0)
    assert other.tolist() == [STUN, 0.25, 0.25]
    assert choices_at(small, "depth", np.array([point, other])).tolist() == [1, 0]
