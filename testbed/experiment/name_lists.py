"""Read lists of names and addresses for profiles from text files.

In a rule's `servers`, `sni`, `host`, `alpn` and `fingerprint`, an entry such as `"@mine"` stands
for all lines of `scenarios/lists/mine.txt`. A line has one entry; what follows a `#` is a comment,
in which the file's source is named. The profile that is read then has the entries themselves, so
that records contain them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from testbed.experiment.explanations import ScenarioError, TomlTable, there_are
from testbed.experiment.toml_files import read_input

_KEYS = ("servers", "sni", "host", "alpn", "fingerprint")
_MARK = "@"


def with_lists(path: Path, rules: Sequence[TomlTable], folder: Path) -> list[TomlTable]:
    """Return the rules of a profile's file with the entries of lists in place of their names.

    Raises:
        ScenarioError: There is no such list, or it has no entry.
    """

    def entries(text: object) -> list[object]:
        is_name = isinstance(text, str) and text.startswith(_MARK)
        return [*_read(path, folder, str(text)[1:])] if is_name else [text]

    return [_with_lists(rule, entries) for rule in rules]


def _with_lists(rule: TomlTable, entries: Callable[[object], list[object]]) -> TomlTable:
    match = rule.get("match")
    if not isinstance(match, dict):
        return rule
    found = {
        key: [each for text in value for each in entries(text)]
        for key, value in match.items()
        if key in _KEYS and isinstance(value, list)
    }
    return {**rule, "match": {**match, **found}}


def _read(path: Path, folder: Path, name: str) -> list[str]:
    """Return the entries of a list."""
    known = sorted(file.stem for file in folder.glob("*.txt"))
    if name not in known:
        hint = there_are(name, known) if known else f"{folder} has no lists"
        raise ScenarioError(f"{path}: no list {name!r}; {hint}")
    lines = read_input(folder / f"{name}.txt").splitlines()
    found = [entry for line in lines if (entry := line.partition("#")[0].strip())]
    if not found:
        raise ScenarioError(f"{folder / name}.txt has no entry")
    return found
