"""List all commands by reading their files, with Python's standard library alone.

`./lab --help` runs this file as a program: it must install nothing, and so import nothing of the
project. What a command is comes from its file's `COMMAND = Command(Panel.X, function)`, its words
from the first line of that function's docstring.
"""

from __future__ import annotations

import ast
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

_WIDTH = 100
_NAME = 16
_OF_LAB = {
    "test": "Check the code and run the tests; --slow: also those that take minutes.",
    "docs": "Build the documents into docs/_build/html; with more words: the command below.",
}
"""What ./lab does itself."""


def main() -> None:
    """Print the help."""
    folder = Path(__file__).parent
    panels = dict(_panels(folder / "registry.py"))
    found: dict[str, list[tuple[int, str, str]]] = {name: [] for name in panels}
    for path in sorted(folder.glob("[!_]*.py")):
        for panel, place, words in _commands(path):
            found[panel].append((place, path.stem.replace("_", "-"), words))
    lines = [
        "Usage: ./lab COMMAND [OPTIONS]; ./lab COMMAND --help says more, with examples.",
        "",
        "Which transport keeps a call usable under a censor's restriction, and how does it sound?",
        *_section("What ./lab does itself", list(_OF_LAB.items())),
    ]
    for panel, commands in found.items():
        lines += _section(panels[panel], [(name, words) for _, name, words in sorted(commands)])
    lines += ["", "Example: ./lab run ru-calls-2025-08 --messenger whatsapp"]
    sys.stdout.write("\n".join(lines) + "\n")


def _section(title: str, commands: list[tuple[str, str]]) -> list[str]:
    """Return the lines of a group of commands."""
    lines = ["", title]
    for name, words in commands:
        first, *rest = textwrap.wrap(words, _WIDTH - _NAME - 2) or [""]
        lines.append(f"  {name:<{_NAME}}{first}")
        lines += [" " * (_NAME + 2) + line for line in rest]
    return lines


def _panels(registry: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and the title of each panel, in order."""
    for node in ast.walk(ast.parse(registry.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef) and node.name == "Panel":
            for each in node.body:
                if isinstance(each, ast.Assign) and isinstance(each.targets[0], ast.Name):
                    yield each.targets[0].id, ast.literal_eval(each.value)


def _commands(path: Path) -> Iterator[tuple[str, int, str]]:
    """Yield the panel, the place and the words of the command that a file defines, if it does."""
    module = ast.parse(path.read_text(encoding="utf-8"))
    for node in module.body:
        call = getattr(node, "value", None)
        if not (isinstance(node, ast.Assign) and isinstance(call, ast.Call) and _is_command(node)):
            continue
        panel, function = call.args[:2]
        places = [ast.literal_eval(word.value) for word in call.keywords if word.arg == "place"]
        if isinstance(panel, ast.Attribute) and isinstance(function, ast.Name):
            yield panel.attr, places[0] if places else 1, _words(module, function.id)


def _is_command(node: ast.Assign) -> bool:
    return any(isinstance(each, ast.Name) and each.id == "COMMAND" for each in node.targets)


def _words(module: ast.Module, name: str) -> str:
    """Return the first line of a function's docstring, or the help of an app of commands."""
    for node in module.body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return (ast.get_docstring(node) or "").partition("\n\n")[0].replace("\n", " ")
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            names = [each.id for each in node.targets if isinstance(each, ast.Name)]
            helps = [word.value for word in node.value.keywords if word.arg == "help"]
            if name in names and helps:
                return str(ast.literal_eval(helps[0]))
    return ""


if __name__ == "__main__":
    main()
