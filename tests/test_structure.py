"""Someone who reads only the names of folders and files finds where a thing is."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from testbed.experiment.scenario import ROOT

NAMED_BY_WHAT_USERS_WRITE: Mapping[str, str] = {
    "testbed/cli": "a command's file has the command's name",
    "testbed/censor/actions": "an action's file has its name in profiles",
    "testbed/censor/detectors": "a detector's file has the name of what it recognises",
    "testbed/call/dialects": "a dialect's file has the name of its messenger",
    "testbed/lab/engines": "an engine's file has its name in messengers",
    "testbed/show/figures": "a figure's file has its name in `testbed plot`",
}
"""The folders whose files are found because they exist. Two of them may have a file of the same
name, since both are named by the same thing: Telegram's dialect, and what recognises Telegram."""
OF_PYTHON_AND_PYTEST = {"__init__.py", "conftest.py"}


def modules(folder: str) -> list[Path]:
    return sorted(path.relative_to(ROOT) for path in (ROOT / folder).rglob("*.py"))


def in_two_places(paths: Iterable[Path]) -> list[Sequence[str]]:
    """Return the places of each file name that occurs where it need not."""
    places: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        places[path.name].append(str(path))
    return [
        found
        for name, found in places.items()
        if name not in OF_PYTHON_AND_PYTEST
        and len(found) > 1
        and any(str(Path(place).parent) not in NAMED_BY_WHAT_USERS_WRITE for place in found)
    ]


def test_no_file_name_of_the_code_occurs_twice() -> None:
    assert in_two_places(modules("testbed")) == []


def test_no_file_name_of_the_tests_occurs_twice() -> None:
    assert in_two_places(modules("tests")) == []


def test_a_second_file_of_a_name_is_noticed_outside_of_the_folders_for_plug_ins() -> None:
    one, another, command = (
        Path("testbed/show/page.py"),
        Path("testbed/tools/page.py"),
        Path("testbed/cli/page.py"),
    )
    assert in_two_places([one, another]) == [[str(one), str(another)]]
    assert in_two_places([one, command]) == [[str(one), str(command)]]
    assert in_two_places([command, Path("testbed/show/figures/page.py")]) == []


def test_the_root_has_only_what_every_folder_may_import() -> None:
    assert {path.name for path in modules("testbed") if path.parent == Path("testbed")} == {
        *("__init__.py", "__main__.py", "errors.py", "evidence.py", "plugins.py"),
    }


def test_every_module_can_be_read_in_one_sitting() -> None:
    paths = [path for folder in ("testbed", "transports", "tests") for path in modules(folder)]
    lengths = {str(path): (ROOT / path).read_text().count("\n") for path in paths}
    assert {path: length for path, length in lengths.items() if length >= 400} == {}


def test_hardly_any_table_is_passed_on_without_its_type() -> None:
    texts = {str(path): (ROOT / path).read_text() for path in modules("testbed")}
    untyped = {path: text.count("str, Any") for path, text in texts.items() if "str, Any" in text}
    assert sum(untyped.values()) <= 10, untyped


def statements(function: ast.FunctionDef) -> int:
    """Return the number of statements in a function, without its docstring."""
    found = sum(isinstance(each, ast.stmt) for each in ast.walk(function)) - 1
    return found - (ast.get_docstring(function) is not None)


def test_a_command_only_parses_calls_and_prints() -> None:
    long: dict[str, int] = {}
    for path in modules("testbed/cli"):
        for each in ast.walk(ast.parse((ROOT / path).read_text())):
            if isinstance(each, ast.FunctionDef) and "typer." in ast.unparse(each.args):
                long[f"{path}: {each.name}"] = statements(each)
    assert len(long) > 40
    assert {name: count for name, count in long.items() if count > 15} == {}
