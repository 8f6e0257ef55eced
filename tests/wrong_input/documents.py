"""Generate wrong files from right ones: one place of a file gets a value that it cannot have.

The JSON Schema of a kind of file (`testbed.experiment.json_schemas`) says which types, names and
keys are allowed at each place of a right file. `wrong_documents` draws a place and makes it wrong
in one of the ways that fit it. So a new key, action or file is tried without being mentioned here.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

Schema = Mapping[str, Any]
Path = tuple[str | int, ...]
OTHER_TYPES: Mapping[str, Sequence[object]] = {
    "boolean": (True, False),
    "integer": (7, -7),
    "number": (2.5,),
    "string": ("text", ""),
    "array": ([], [[]], ["text", 7]),
    "object": ({}, {"key": "value"}),
}
"""Values by the type that they have in JSON."""
NOT_NUMBERS = (math.inf, -math.inf, math.nan, 1e300, -1e300, 10**30, -(10**30), 10**400)
"""Numbers that no key may have."""
ALL_DIFFERENT = ("seeds", "messengers", "transports", "censors", "links", "topologies")
"""The keys of a scenario whose values must not be repeated."""
UNPRINTABLE = ("\x00", "\x1b[31mred", "back\x08", "\x7f", "\u202eright to left", "\u2028", "\x9b")


@dataclass(frozen=True)
class Place:
    """One value of a file, and what may stand there."""

    path: Path
    value: object
    schemas: Sequence[Schema]
    """The alternatives, resolved."""

    @property
    def types(self) -> set[str]:
        """The types in JSON that a value may have here; `const` and `enum` allow only some."""
        found = {schema["type"] for schema in self.schemas if "type" in schema}
        found |= {"string" for schema in self.schemas if {"const", "enum"} & set(schema)}
        return found | ({"integer"} if "number" in found else set())

    @property
    def names(self) -> list[str]:
        """The names of which one must stand here; none if any text may."""
        texts = [schema for schema in self.schemas if schema.get("type") == "string"]
        if not texts or any(not {"const", "enum"} & set(schema) for schema in texts):
            return []
        return [name for schema in texts for name in schema.get("enum", [schema.get("const")])]

    @property
    def keys(self) -> set[str]:
        """The keys that a table may have here; none if any may."""
        closed = [s for s in self.schemas if s.get("additionalProperties") is False]
        return {key for schema in closed for key in schema["properties"]}

    @property
    def required(self) -> set[str]:
        """The keys that a table must have here."""
        tables = [set(s.get("required", ())) for s in self.schemas if s.get("type") == "object"]
        return set.intersection(*tables) if tables else set()


@dataclass(frozen=True)
class Wrong:
    """A wrong file."""

    content: dict[str, Any]
    path: Path
    """The place that is wrong."""
    what: str
    """How it is wrong, for the message of a failing test."""
    expected: Sequence[str] = ()
    """Texts of which one must be in the answer, as it tells what would be right."""

    @property
    def key(self) -> str:
        """The name of the key that is wrong, or in which a list is."""
        return next((str(part) for part in reversed(self.path) if isinstance(part, str)), "")

    @property
    def toml(self) -> str:
        """The file's text."""
        return "".join(f"{_text(key)} = {as_toml(value)}\n" for key, value in self.content.items())


def wrong_documents(schema: Schema, right: Mapping[str, Any]) -> st.SearchStrategy[Wrong]:
    """Return a strategy for wrong variants of a right file."""
    ways = [way for place in places(schema, right) for way in _ways(place)]

    def at(way: tuple[Path, str, object, Sequence[str]]) -> Wrong:
        path, what, value, expected = way
        content = copy.deepcopy(dict(right))
        _put(content, path, value)
        return Wrong(content, path, what, expected)

    return st.sampled_from(ways).map(at)


REMOVED = object()


def _ways(place: Place) -> Iterator[tuple[Path, str, object, Sequence[str]]]:
    """Yield each way in which a place can be wrong: path, description, value, expected texts."""
    path = place.path
    for kind, values in OTHER_TYPES.items():
        if place.types and kind not in place.types:  # without types, a place takes any value
            for value in values:
                yield path, f"{kind} instead of {place.types}", value, ()
    if "number" in place.types or "integer" in place.types:
        for number in NOT_NUMBERS:
            yield path, "no sensible number", number, ()
    if isinstance(place.value, str):
        if place.names:
            yield path, "unknown name", f"{place.value}x", place.names
        for text in UNPRINTABLE:
            yield path, "unprintable", f"a{text}b", ()
    if path[-1:] == ("title",) and isinstance(place.value, str):
        yield path, "too long", "x" * 120, ("at most 100",)
    if isinstance(place.value, Mapping):
        yield from _ways_of_table(place)
    if len(path) == 1 and path[0] in ALL_DIFFERENT and isinstance(place.value, list):
        yield path, "repeated", [*place.value, place.value[0]], ("is there twice",)


def _ways_of_table(place: Place) -> Iterator[tuple[Path, str, object, Sequence[str]]]:
    assert isinstance(place.value, Mapping)
    for key in sorted(place.keys - {"name"}):
        typo = f"{key}s"
        if typo not in place.keys:
            yield (*place.path, typo), "unknown key", "value", (f"Did you mean '{key}'?", "any")
    for key in sorted(place.required & set(place.value)):
        yield (*place.path, key), "missing", REMOVED, ()


def places(schema: Schema, value: object, path: Path = ()) -> Iterator[Place]:
    """Yield all places of a right file."""
    yield from _places(schema, [schema], value, path)


def _places(root: Schema, schemas: Sequence[Schema], value: object, path: Path) -> Iterator[Place]:
    fitting = [s for s in _alternatives(root, schemas) if _fits(s, value)]
    everything = list(_alternatives(root, schemas))
    place = Place(path, value, fitting if isinstance(value, Mapping) else everything)
    if isinstance(value, Mapping):
        # Any alternative's type may stand here, but the keys are those of the one that was chosen.
        yield Place(
            path, value, [*fitting, *({"type": t} for t in Place(path, value, everything).types)]
        )
        for key, inner in value.items():
            if found := [s for s in (_of_key(schema, key) for schema in place.schemas) if s]:
                yield from _places(root, found, inner, (*path, key))
    else:
        yield place
    if isinstance(value, list):
        for number, inner in enumerate(value):
            if found := [s for s in (_of_index(schema, number) for schema in everything) if s]:
                yield from _places(root, found, inner, (*path, number))


def _alternatives(root: Schema, schemas: Sequence[Schema]) -> Iterator[Schema]:
    for schema in schemas:
        if "$ref" in schema:
            yield from _alternatives(root, [root["$defs"][schema["$ref"].split("/")[-1]]])
        elif "properties" not in schema and (inner := schema.get("anyOf") or schema.get("oneOf")):
            yield from _alternatives(root, inner)
        else:
            yield schema


def _fits(schema: Schema, value: object) -> bool:
    """Return whether a value may be meant by an alternative: for tables, by their keys and kind."""
    if not isinstance(value, Mapping):
        return True
    if schema.get("type") != "object":
        return False
    properties = schema.get("properties", {})
    kind = properties.get("kind", {}).get("const")
    if kind is not None and kind != value.get("kind"):
        return False
    return schema.get("additionalProperties") is not False or set(value) <= set(properties)


def _of_key(schema: Schema, key: str) -> Schema | None:
    found = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
    return found if isinstance(found, Mapping) else None


def _of_index(schema: Schema, number: int) -> Schema | None:
    each = schema.get("prefixItems", [])
    found = each[number] if number < len(each) else schema.get("items")
    return found if isinstance(found, Mapping) else None


def _put(content: Any, path: Path, value: object) -> None:  # noqa: ANN401 - a table or a list
    for part in path[:-1]:
        content = content[part]
    if not path:
        content.clear()
    elif value is REMOVED:
        del content[path[-1]]
    else:
        content[path[-1]] = value


def as_toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return _text(value)
        case list():
            return f"[{', '.join(map(as_toml, value))}]"
        case dict():
            pairs = (f"{_text(key)} = {as_toml(inner)}" for key, inner in value.items())
            return f"{{{', '.join(pairs)}}}"
        case int():
            return str(value)
    return repr(value)  # a float: inf and nan are written alike in Python and TOML


def _text(text: str) -> str:
    """Return a basic string of TOML, which escapes as JSON does, and DEL besides."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
