"""A transport's file may be anything: what is wrong with it is one sentence that names it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wrong_input.documents import NOT_NUMBERS, UNPRINTABLE, as_toml
from tests.wrong_input.refusals import refused
from tests.wrong_input.test_wrong_files import EXAMPLES, USER

RIGHT = '''
import sys
from dataclasses import dataclass
from typing import ClassVar, Literal

from testbed.transport.interface import Program


@dataclass(frozen=True)
class Transport:
    """Unordered."""

    number: int = 1
    share: float = 0.5
    text: str = "a"
    choice: Literal["udp", "tcp"] = "udp"
    switch: bool = False
    programs: ClassVar[tuple[Program, ...]] = ()

    async def serve(self, host, listen, forward): ...

    async def connect(self, host, server): ...
'''
RAISED = st.sampled_from(
    ["sys.exit()", "sys.exit(3)", "sys.exit('bye')", "raise SystemExit", "1 / 0", "nosuchname",
     "import nosuchmodule", "raise RuntimeError('two\\nlines')", "{}['key']", "(", "assert False"]
)  # fmt: skip
"""Statements that a file must not run."""
PLACES: dict[str, Callable[[str], str]] = {
    "module": lambda statement: RIGHT + statement + "\n",
    "before the class": lambda statement: RIGHT.replace("@dataclass", f"{statement}\n@dataclass"),
    "__post_init__": lambda s: f"{RIGHT}\n    def __post_init__(self):\n        {s}\n",
    "programs": lambda s: RIGHT.replace(
        "    programs: ClassVar[tuple[Program, ...]] = ()",
        f"    @property\n    def programs(self):\n        {s}",
    ),
}
WRONG_CLASSES = (
    "", "\n", "Transport = 5", "def Transport(): ...", "class Transport: ...",
    "class Transport:\n    programs = 5\n    serve = connect = None",
    RIGHT.replace("class Transport", "class Transprot"),
    RIGHT.replace("int = 1", "nosuchtype = 1"),
    RIGHT.replace("async def serve", "async def served"),
)  # fmt: skip
VALUES: dict[str, tuple[object, ...]] = {
    "number": (True, 1.5, "1", [], {}, *NOT_NUMBERS),
    "share": (True, "1", [], *NOT_NUMBERS),
    "text": (True, 1, 1.5, [], *UNPRINTABLE),
    "choice": (True, 1, "udpp", "", []),
    "switch": (1, 0, "true", 1.5, []),
    "numbre": (1,),
}


def dry_run(*words: str) -> str:
    return refused("transport", "run", "quick", "--dry-run", *words)


@EXAMPLES
@given(st.sampled_from(sorted(PLACES)), RAISED)
def test_whatever_a_file_raises_is_said_with_its_name(
    tmp_path: Path, place: str, statement: str
) -> None:
    path = tmp_path / "faulty.py"
    path.write_text(PLACES[place](statement))
    sentence = dry_run("--transport", str(path))
    assert "transport faulty" in sentence
    assert "sys.exit" in sentence or "xit" not in statement


@pytest.mark.parametrize("text", WRONG_CLASSES)
def test_a_file_without_a_right_class_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "faulty.py"
    path.write_text(text)
    assert "faulty" in dry_run("--transport", str(path))


@EXAMPLES
@given(st.sampled_from([(name, value) for name in VALUES for value in VALUES[name]]))
def test_a_wrong_parameter_is_named(tmp_path: Path, wrong: tuple[str, object]) -> None:
    name, value = wrong
    path, user = tmp_path / "mine.py", tmp_path / "user.toml"
    path.write_text(RIGHT)
    kind = json.dumps(str(path))
    user.write_text(f"{USER}[transports.mine]\nkind = {kind}\n{name} = {as_toml(value)}\n")
    sentence = refused("transport", "run", str(user), "--dry-run")
    assert name in sentence
    if name == "numbre":
        assert "Did you mean 'number'?" in sentence
    if name == "choice" and isinstance(value, str):
        assert "'udp'" in sentence


@pytest.mark.parametrize("kind", ["folder", "missing", "device", "binary", "huge"])
def test_what_is_no_file_of_python_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "mine.py"
    match kind:
        case "folder":
            path.mkdir()
        case "device":
            path.symlink_to("/dev/zero")
        case "binary":
            path.write_bytes(bytes(range(256)))
        case "huge":
            path.write_bytes(b"#" * 2_000_000)
    assert str(path) in dry_run("--transport", str(path))
