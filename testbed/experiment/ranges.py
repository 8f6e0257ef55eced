"""Check what no schema says of a file: that numbers have a sense in their unit, and texts print.

A schema knows the type of each key. That a delay is not infinite, that a rate is not 10^30 bit/s
and that a title has no control characters holds for all files alike, so it is checked once, before
the schema. The unit of a number is in its name, and `RANGES` says between which values the lab can
reproduce it: beyond them a guest would never end, or the kernel's field would overflow.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Mapping, Sequence

RANGES: Mapping[str, tuple[float, float]] = {
    "duration_s": (1, 3600),
    "interval_s": (0.05, 3600),
    "timeout_s": (0.1, 3600),
    "bitrate_bps": (6000, 510_000),
    "relay_port": (1, 65535),
    "relay_tls_port": (1, 65535),
    "port": (1, 65535),
    "copies": (1, 10),
    "packets": (0, 1e6),
    "s": (0, 604_800),
    "ms": (0, 60_000),
    "mbps": (0, 10_000),
    "bps": (0, 1e10),
    "bytes": (0, 1e9),
    "percent": (0, 100),
}
"""The least and the greatest value of numbers whose name is this or ends in `_` and this; the first
that fits counts. A bitrate is Opus's (RFC 6716, 2.1.1)."""
_OTHERWISE = (-1e12, 1e12)
LONGEST_TITLE = 100
"""In characters; the longest that figures and tables show in full."""
LONGEST_TEXT = 10_000
_DEEPEST = 20
_ON_ONE_LINE = ("title", "name")


def wrong_values(content: Mapping[str, object]) -> list[str]:
    """Return a sentence for each value of a file that no key may have, with the path of its key."""
    return [f"{'.'.join(keys)}: {wrong}" for keys, wrong in _wrong(content, ())]


def wrong_number(name: str, value: float) -> str:
    """Return what is wrong with the number of a key, and what is allowed; empty if nothing is."""
    least, most = _range_of(name)
    if not isinstance(value, int) and not math.isfinite(value):
        return f"{value} is not a finite number{_bounds(least, most)}"
    if not least <= value <= most:
        return f"{_short(value)} is out of range{_bounds(least, most)}"
    return ""


def wrong_text(name: str, text: str) -> str:
    """Return what is wrong with the text of a key, and what is allowed; empty if nothing is."""
    one_line = name in _ON_ONE_LINE
    for place, character in enumerate(text, 1):
        if not _prints(character) and (one_line or character not in "\n\t"):
            code = f"U+{ord(character):04X}"
            return f"character {place} is {code}, which is not printed; leave it out"
    longest = LONGEST_TITLE if one_line else LONGEST_TEXT
    if len(text) > longest:
        return f"it has {len(text)} characters, expected at most {longest}"
    return ""


def _wrong(value: object, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if len(keys) > _DEEPEST:
        yield keys[:3], f"tables and lists are nested deeper than {_DEEPEST}"
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if wrong := wrong_text("name", key):
                yield (*keys, repr(key)), wrong
            else:
                yield from _wrong(inner, (*keys, key))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _wrong(inner, (*keys, _place(number, inner)))
    elif wrong := _wrong_leaf(value, keys):
        yield keys, wrong


def _wrong_leaf(value: object, keys: Sequence[str]) -> str:
    name = next((key for key in reversed(keys) if not key.isdecimal()), "")
    match value:
        case bool():
            return ""
        case int() | float():
            return wrong_number(name, value)
        case str():
            return wrong_text(name, value)
    return f'a date or time must be a text, such as "{value}" in quotation marks'


def _place(number: int, inner: object) -> str:
    """Return how an entry of a list is named in a path: by its name, or else its number."""
    name = inner.get("name") if isinstance(inner, Mapping) else None
    return name if isinstance(name, str) and not wrong_text("name", name) else str(number)


def _range_of(name: str) -> tuple[float, float]:
    fits = (ends for unit, ends in RANGES.items() if name == unit or name.endswith(f"_{unit}"))
    return next(fits, _OTHERWISE)


def _bounds(least: float, most: float) -> str:
    if (least, most) == _OTHERWISE:
        return ", expected a number of at most 12 digits"
    return f", expected {least:,g} to {_short(most)}"


def _short(value: float) -> str:
    """Return a number as people write it, however many digits it has."""
    if isinstance(value, int) and abs(value) >= 10**15:
        return "a number of more than 15 digits"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.10g}"


def _prints(character: str) -> bool:
    """Return whether a character is shown as itself, without moving or reordering others."""
    is_control = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
    return not is_control and unicodedata.bidirectional(character) not in (
        *("LRE", "RLE", "PDF", "LRO", "RLO"),
        *("LRI", "RLI", "FSI", "PDI"),
    )
