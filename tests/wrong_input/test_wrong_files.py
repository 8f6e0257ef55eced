"""Every wrong file, of any kind, is refused in one sentence that names the file and the key.

`WRONG_INPUTS=300 pytest tests/wrong_input` tries as many of each kind.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed.experiment import scenario
from testbed.experiment.json_schemas import schema
from tests.wrong_input.documents import Wrong, wrong_documents
from tests.wrong_input.refusals import refused

EXAMPLES = settings(
    max_examples=int(os.environ.get("WRONG_INPUTS", settings().max_examples)),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
FOLDERS = {
    "censor": scenario.CENSORS,
    "messenger": scenario.MESSENGERS,
    "links": scenario.LINK_FILES.sets,
    "scenario": scenario.SCENARIOS,
}
KEYS = {"censor": "censors", "messenger": "messengers", "links": "links"}
USER = """
title = "A scenario that uses the wrong file"
question = "Is it refused?"
"""


def right_files(kind: str) -> list[Mapping[str, Any]]:
    """Return the contents of the shipped files of a kind that stand alone."""
    found = [tomllib.loads(path.read_text()) for path in sorted(FOLDERS[kind].glob("*.toml"))]
    return [content for content in found if "like" not in content]


def any_wrong(kind: str) -> st.SearchStrategy[Wrong]:
    described = schema(kind)
    return st.sampled_from(right_files(kind)).flatmap(lambda c: wrong_documents(described, c))


def check(kind: str, wrong: Wrong, library: Path) -> None:
    user = library / "user.toml"
    if kind == "scenario":
        (library / "wrong.toml").write_text(wrong.toml)
        user = library / "wrong.toml"
    else:
        (library / FOLDERS[kind].name / "wrong.toml").write_text(wrong.toml)
        user.write_text(f'{USER}{KEYS[kind]} = ["wrong"]\n')
    sentence = refused(f"{kind} file", "run", str(user), "--dry-run", "--out", str(library / "run"))
    assert "wrong.toml" in sentence, (wrong.what, sentence)
    assert not wrong.path or named(wrong, sentence), (wrong.what, wrong.path, sentence)
    if wrong.expected:
        assert any(text in sentence for text in wrong.expected), (wrong.what, sentence)


def named(wrong: Wrong, sentence: str) -> bool:
    """Return whether a sentence names the wrong key, or of a long path at least the table."""
    return repr(wrong.key)[1:-1] in sentence


@EXAMPLES
@given(any_wrong("scenario"))
def test_a_wrong_scenario_is_refused(library: Path, wrong: Wrong) -> None:
    check("scenario", wrong, library)


@EXAMPLES
@given(any_wrong("censor"))
def test_a_wrong_profile_is_refused(library: Path, wrong: Wrong) -> None:
    check("censor", wrong, library)


@EXAMPLES
@given(any_wrong("messenger"))
def test_a_wrong_messenger_is_refused(library: Path, wrong: Wrong) -> None:
    check("messenger", wrong, library)


@EXAMPLES
@given(any_wrong("links"))
def test_wrong_links_are_refused(library: Path, wrong: Wrong) -> None:
    check("links", wrong, library)
