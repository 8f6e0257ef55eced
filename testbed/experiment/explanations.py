"""Explain in words what is wrong with the content of a file.

Pydantic reports errors by Python's types and class names; `describe` turns them into the keys of
the file and the values that were expected.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_args, get_type_hints

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from testbed.censor.action import Action
from testbed.censor.actions import ACTIONS
from testbed.errors import InputError, did_you_mean

T = TypeVar("T")
TomlTable = dict[str, Any]
Asked = tuple[str, str, T]
"""A name, the words that asked for it, and the thing that has the name."""
"""A table as read from a file, before it is checked."""
_UNKNOWN_KIND = ("union_tag_invalid", "union_tag_not_found")
"""Pydantic's errors about a `kind`."""
_QUOTED = re.compile(r"'([^']*)'")
"""Matches each of the values in pydantic's "expected 'a', 'b' or 'c'"."""


class ScenarioError(InputError):
    """A file is wrong; the message names the file, the key, and what was expected."""


def by_name(what: str, asked: Iterable[Asked[T]], remedy: str = "") -> dict[str, T]:
    """Return things by name.

    Raises:
        ScenarioError: Two different things have the same name, so that one would be lost.
    """
    words: dict[str, str] = {}
    found: dict[str, T] = {}
    for name, as_asked, thing in asked:
        if found.setdefault(name, thing) != thing:
            both = f"{words[name]!r} and {as_asked!r}"
            raise ScenarioError(f"{what}: {both} would both be called {name!r}{remedy}")
        words.setdefault(name, as_asked)
    return found


def describe(
    error: ValidationError,
    content: TomlTable,
    kind: type | None = None,
    *,
    within: str = "",
) -> str:
    """Return for each wrong key of `content` where it is and what was expected.

    `kind` is the class that `content` should become; with it, known keys can be listed. `within` is
    the key under which `content` is.
    """
    lines: dict[str, str] = {}
    choices: dict[str, tuple[object, list[str]]] = {}
    for detail in error.errors():
        keys = _keys(detail, content)
        if keys is not None:
            where = ".".join((within, *keys) if within else keys) or "the file"
            message = _message(detail, kind)
            if detail["type"] == "literal_error":
                _, expected = choices.setdefault(where, (detail["input"], []))
                expected += _QUOTED.findall(detail["ctx"]["expected"])
            if where not in lines:
                lines[where] = message
            elif message not in lines[where]:
                lines[where] += f" or {message.removeprefix('Input should be ')}"
    return "; ".join(
        f"{where}: {message}{did_you_mean(*choices.get(where, ('', [])))}"
        for where, message in lines.items()
    )


def _message(detail: ErrorDetails, kind: type | None) -> str:
    """Return what was expected, without Python's terms."""
    if detail["type"] == "unexpected_keyword_argument":
        known = [] if kind is None else _known_keys(detail["loc"], kind)
        if not known:
            return "Unexpected key"
        hint = did_you_mean(detail["loc"][-1], known)
        return f"Unexpected key, expected of {names_in(known)}{hint}"
    if detail["type"] in _UNKNOWN_KIND:
        *others, last = map(repr, sorted(ACTIONS))
        return f"Input should be {', '.join(others)} or {last}"
    if detail["type"] == "too_short":
        least = detail["ctx"]["min_length"]
        return f"expected at least {least} item{'s' if least > 1 else ''}"
    return detail["msg"].removeprefix("Value error, ")


def _known_keys(location: Sequence[int | str], kind: type) -> set[str]:
    """Return the keys that are allowed in place of an unknown one; empty if that is not known."""
    classes: list[type] = [kind]
    for part in location[:-1]:
        # A part is a key of a table, an index, an action's kind, or a class out of several.
        hints = [found[part] for found in map(get_type_hints, classes) if part in found]
        classes = [one for one in classes if part in (one.__name__, getattr(one, "kind", ""))] or (
            [one for hint in hints for one in _classes(hint)] if hints else classes
        )
    known = {field.name for one in classes for field in fields(one)}
    is_file = classes == [kind]
    if is_file and "reviewed" in known:
        known.add("like")
    of_a_file = {field.name for one in classes for field in fields(one) if field.kw_only}
    return known - ({"name"} if is_file else {"name"} & of_a_file)  # the file's name, not a key


def _classes(hint: object) -> list[type]:
    """Return the dataclasses that a type hint contains."""
    if hint is Action:
        return list(ACTIONS.values())
    if isinstance(hint, type) and is_dataclass(hint):
        return [hint]
    return [found for part in get_args(hint) for found in _classes(part)]


def _keys(detail: ErrorDetails, content: TomlTable) -> list[str] | None:
    """Return the path of a wrong key in the file; None for alternatives that were not meant."""
    keys: list[str] = []
    value: Any = content
    before: int | str = ""
    for part in detail["loc"]:
        is_kind = before == "action" and part in ACTIONS  # of the action whose keys follow
        before = part
        if is_kind:
            continue
        if isinstance(value, Mapping) and part in value:
            keys.append(str(part))
            value = value[part]
        elif isinstance(value, Sequence) and isinstance(part, int) and part < len(value):
            value = value[part]
            name = value.get("name") if isinstance(value, Mapping) else None
            keys.append(str(name or part))
        elif part == "str" or str(part).startswith("tuple["):  # an alternative to a table
            if isinstance(value, Mapping):
                return None
        elif not (isinstance(part, str) and part[:1].isupper()):
            keys.append(str(part))
    return [*keys, "kind"] if detail["type"] in _UNKNOWN_KIND else keys


def there_are(name: object, known: Iterable[str]) -> str:
    """Return the known names for a sentence, and which of them may have been meant by another."""
    names = list(known)
    return f"there are {names_in(names)}{did_you_mean(name, names)}"


def names_in(names: Iterable[str]) -> str:
    """Return names as a list for a sentence."""
    return ", ".join(sorted(names)) or "none"
