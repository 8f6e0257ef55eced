"""The grammar of the names by which people choose transports: the only place where it is parsed.

    name       = place [ "{" parameters "}" ] [ " through " name ]
    parameters = key "=" value { "," key "=" value }
    value      = a TOML value, or text with no comma outside of braces, brackets and quotes
    place      = a known name, the path of a file, or anything else without an opening brace

`hysteria2 {salamander = true} through turn {over = tcp}` is Hysteria 2 with a parameter, carried by
TURN with another. Text as a value may be a name itself, as in `fec {inner = turn {over = tls}}`. A
place with a brace or the word `through` in it stands in TOML's quotes.

`parse_name` and `Name.__str__` are inverse: what tables show can be typed again.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from testbed.experiment.cell import THROUGH

_AFTER_A_PLACE = re.compile(rf"\s*\{{|\s+{THROUGH}\s")
_CLOSING = {"{": "}", "[": "]"}
_QUOTES = ("'", '"')
_BEFORE_A_QUOTE = "=,[{"
"""After one of these, or at the beginning, a quote opens a string; elsewhere it is a letter."""
_LONGEST_PART = 72
"""The longest part of a cell's name; four parts, joined, are a valid file name (255 bytes at most
on Linux, with room for endings)."""
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Name:
    """A name, taken apart."""

    place: str
    parameters: Mapping[str, object] = field(default_factory=dict)
    """Values as TOML has them; text is a string."""
    through: Name | None = None
    """What carries it."""

    def __str__(self) -> str:
        place = _quoted(self.place) if _needs_quotes(self.place) else self.place
        inside = ", ".join(f"{key} = {_written(v)}" for key, v in self.parameters.items())
        own = f"{place} {{{inside}}}" if inside else place
        return own if self.through is None else f"{own} {THROUGH} {self.through}"


class _Token(NamedTuple):
    """A character outside of quotes, or a whole string in quotes."""

    start: int
    text: str
    depth: int
    """In how many braces and brackets it lies; an opening one counts itself, a closing one not."""


def parse_name(text: str) -> Name:
    """Take a name apart.

    Raises:
        ValueError: It does not follow the grammar.
    """
    text = text.strip()
    place, rest = _place(text)
    parameters: Mapping[str, object] = {}
    if rest.startswith("{"):
        inside, rest = _braced(rest)
        parameters = _parameters(inside)
    if not rest:
        return Name(place, parameters)
    word, *after = rest.split(maxsplit=1)
    if word != THROUGH:
        raise ValueError(
            f"the closing brace is missing at the end, or the word `{THROUGH}` before {rest!r}"
        )
    if not after:
        raise ValueError(f"after `{THROUGH}` there is no name")
    return Name(place, parameters, parse_name(after[0]))


def _place(text: str) -> tuple[str, str]:
    """Split the place off a name; return it and the rest."""
    if text.startswith(_QUOTES):
        end = _string_end(text, 0)
        try:
            place: str = tomllib.loads(f"place = {text[:end]}")["place"]
        except tomllib.TOMLDecodeError:
            raise ValueError("the closing quote is missing") from None
        return place, text[end:].strip()
    end = _place_end(text)
    return text[:end].strip(), text[end:].strip()


def _place_end(text: str) -> int:
    found = _AFTER_A_PLACE.search(text)
    return len(text) if found is None else found.start()


def _needs_quotes(place: str) -> bool:
    """Return whether a place would not be read back without quotes."""
    is_bare = place.isprintable() and place == place.strip() and not place.startswith(_QUOTES)
    return not is_bare or not place or _place_end(f"{place} {THROUGH} x") < len(place)


def _string_end(text: str, start: int) -> int:
    """Return where the string in quotes that begins at `start` ends."""
    escaped = False
    for place in range(start + 1, len(text)):
        if escaped:
            escaped = False
        elif text[place] == "\\" and text[start] == '"':
            escaped = True
        elif text[place] == text[start]:
            return place + 1
    return len(text)


def _tokens(text: str) -> Iterator[_Token]:
    """Yield what a text consists of.

    Raises:
        ValueError: A closing brace or bracket closes nothing.
    """
    place, before = 0, ""
    expected: list[str] = []
    while place < len(text):
        letter = text[place]
        end = place + 1
        if letter in _QUOTES and (not before or before in _BEFORE_A_QUOTE):
            end = _string_end(text, place)
        elif letter in _CLOSING:
            expected.append(_CLOSING[letter])
        elif letter in _CLOSING.values() and (not expected or expected.pop() != letter):
            raise ValueError("opening and closing braces do not match")
        yield _Token(place, text[place:end], len(expected))
        if not letter.isspace():
            before = letter
        place = end


def _braced(rest: str) -> tuple[str, str]:
    """Return what is in the braces at the beginning of `rest`, and what comes after them."""
    for token in _tokens(rest):
        if token.depth == 0:
            return rest[1 : token.start].strip(), rest[token.start + 1 :].strip()
    if rest.endswith("}"):
        raise ValueError("opening and closing braces do not match")
    raise ValueError("the closing brace is missing at the end")


def _parameters(inside: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for pair in _pairs(inside):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals:
            raise ValueError(f"{pair!r} is not of the form key = value")
        if key in found:
            raise ValueError(f"{key} is there twice")
        found[key] = _value(value)
    if not found:
        raise ValueError("the braces are empty")
    return found


def _pairs(inside: str) -> Iterator[str]:
    """Yield the parts between the commas that are outside of braces, brackets and quotes."""
    start = 0
    for token in _tokens(inside):
        if token.text == "," and token.depth == 0:
            yield inside[start : token.start].strip()
            start = token.start + 1
    if last := inside[start:].strip():
        yield last


def _value(text: str) -> object:
    """Return a TOML value; any other text is a string."""
    try:
        content = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    value: object = content["value"]
    return value if len(content) == 1 else text


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key_in_toml(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _quoted(key)


def _written(value: object) -> str:
    """Return a value as `_value` reads it."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return value if _is_bare(value) else _quoted(value)
        case Mapping():
            inside = ", ".join(f"{_key_in_toml(str(k))} = {_in_toml(v)}" for k, v in value.items())
            return f"{{ {inside} }}" if inside else "{}"
        case Sequence():
            return f"[{', '.join(map(_in_toml, value))}]"
    return str(value)


def _in_toml(value: object) -> str:
    """Return a value inside of a TOML list or table, where text needs quotes."""
    return _quoted(value) if isinstance(value, str) else _written(value)


def _is_bare(text: str) -> bool:
    """Return whether text is read back as it is, without quotes."""
    if not text or text != text.strip() or text.startswith(_QUOTES) or not text.isprintable():
        return False
    try:
        tokens = list(_tokens(f"k = {text}"))
    except ValueError:
        return False
    commas = any(token.text == "," and token.depth == 0 for token in tokens)
    return not commas and tokens[-1].depth == 0 and _value(text) == text


def as_file_name(text: str) -> str:
    """Return a text as a part of a file's name; what is too long ends in a hash of all of it."""
    plain = re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-")
    if len(plain) <= _LONGEST_PART:
        return plain
    return f"{plain[: _LONGEST_PART - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
