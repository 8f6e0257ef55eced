"""Lists of names and addresses from files, in place of entries of a rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.experiment import scenario
from testbed.experiment.explanations import ScenarioError

PROFILE = """
title = "Blocked names and networks"
description = "A test."
reviewed = "2026-11-30"
[[rules]]
name = "names"
match = { protocol = "tcp", sni = ["first.example", "@names"], servers = ["@networks"] }
action = { kind = "pass" }
[rules.evidence]
match = { source = "a test", confidence = "assumed" }
action = { source = "a test", confidence = "assumed" }
[inspection]
reassembles = []
evidence = { reassembles = { source = "a test", confidence = "assumed" } }
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a profile, and its lists beside it."""
    for name in ("CENSORS", "NAME_LISTS"):
        monkeypatch.setattr(scenario, name, tmp_path)
    (tmp_path / "mine.toml").write_text(PROFILE)
    (tmp_path / "names.txt").write_text("# FORUM 1 (2026-01)\n*.a.example\n\nb.example  # and so\n")
    (tmp_path / "networks.txt").write_text("192.0.2.0/28\n2001:db8::/32\n")
    return tmp_path


def test_an_entry_with_an_at_sign_stands_for_the_lines_of_a_file(folder: Path) -> None:
    [rule] = scenario.load_censor("mine").rules
    assert rule.match.sni == ("first.example", "*.a.example", "b.example")
    assert rule.match.servers == ("192.0.2.0/28", "2001:db8::/32")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("names", None, r"no list 'names'; .*networks"),
        ("names", "# nothing\n", r"names\.txt has no entry"),
    ],
)
def test_a_list_that_is_missing_or_empty_is_named(
    folder: Path, name: str, text: str | None, said: str
) -> None:
    (folder / f"{name}.txt").unlink()
    if text is not None:
        (folder / f"{name}.txt").write_text(text)
    with pytest.raises(ScenarioError, match=said):
        scenario.load_censor("mine")
