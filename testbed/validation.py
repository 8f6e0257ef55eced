"""Says in words what is wrong with what was read from a file; reads none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from testbed.censor.actions import Action

_ACTIONS = {kind.__name__ for kind in get_args(Action)}


class ScenarioError(Exception):
    """A file is wrong; the message names file and key, and what was expected."""


def describe(error: ValidationError, content: Mapping[str, Any]) -> str:
    """Say of each wrong key where it is and what was expected; `content` is what was read."""
    lines: dict[str, str] = {}
    for detail in error.errors():
        keys = _keys(detail, content)
        if keys is not None:
            where = ".".join(keys) or "the file"
            message = detail["msg"].removeprefix("Value error, ")
            if where not in lines:
                lines[where] = message
            elif message not in lines[where]:
                lines[where] += f" or {message.removeprefix('Input should be ')}"
    return "; ".join(
        f"{where}: {message}" if where else message for where, message in lines.items()
    )


def _keys(detail: ErrorDetails, content: Mapping[str, Any]) -> list[str] | None:
    """Give the way to a wrong key as in the file; None for alternatives that were not meant."""
    keys: list[str] = []
    value: Any = content
    for part in detail["loc"]:
        if isinstance(value, Mapping) and isinstance(value.get("kind"), str):
            meant = value["kind"].capitalize()
            is_other = part in _ACTIONS and part != meant
            if is_other and (meant in _ACTIONS or detail["loc"][-1] != "kind"):
                return None
        if isinstance(value, Mapping) and part in value:
            keys.append(str(part))
            value = value[part]
        elif isinstance(value, Sequence) and isinstance(part, int) and part < len(value):
            value = value[part]
            name = value.get("name") if isinstance(value, Mapping) else None
            keys.append(str(name or part))
        elif not (isinstance(part, str) and part[:1].isupper()):
            keys.append(str(part))
    return keys


def names_in(names: Iterable[str]) -> str:
    """List names for a sentence."""
    return ", ".join(sorted(names)) or "none"
