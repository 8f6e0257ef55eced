"""A transport knows the public interface of transports, and nothing else of the testbed."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from testbed.experiment.loading import IN_TREE, in_tree_names


def imported(text: str) -> Iterator[str]:
    """Yield the dotted names that a module imports."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("name", [*in_tree_names(), "_new"])
def test_it_imports_only_what_is_made_for_transports(name: str) -> None:
    names = [dotted.split(".") for dotted in imported((IN_TREE / f"{name}.py").read_text())]
    assert {parts[1] for parts in names if parts[0] == "testbed"} <= {"transport"}
    assert "transports" not in {parts[0] for parts in names}
