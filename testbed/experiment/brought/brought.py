"""The result of reading what people bring, and finding the format that reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from testbed.errors import did_you_mean
from testbed.experiment.explanations import ScenarioError, names_in
from testbed.experiment.names import Name
from testbed.plugins import Plugins


@dataclass(frozen=True)
class Brought:
    """A transport that was given as a link, a file, a line or a program."""

    what: str
    """What was given, such as `a VLESS link`."""
    name: Name
    """The transport that runs, with its parameters."""
    title: str = ""
    """A short name for tables instead of a long one; empty: the name itself is short."""
    replaced: tuple[str, ...] = ()
    """What the lab puts its own in the place of."""
    lost: tuple[str, ...] = ()
    """What cannot be kept, each with the reason."""


class Format(NamedTuple):
    """One format of what people bring."""

    reads: Callable[[str], bool]
    """Whether a text is of this format; it need not be a correct one."""
    read: Callable[[str], Brought]
    """Reads such a text, or raises a ScenarioError that names the wrong field."""


_FORMATS: Mapping[str, Format] = Plugins("testbed.experiment.brought", "FORMAT")


def read_brought(text: str) -> Brought | None:
    """Return what a text is, if it is of a format that people bring; otherwise None.

    Raises:
        ScenarioError: It is of such a format, but malformed.
    """
    text = text.strip()
    for brings in _FORMATS.values():
        if brings.reads(text):
            return brings.read(text)
    return None


def title_of(words: Iterable[str]) -> str:
    """Return a title that differs from the names of all transports; it has no address or key."""
    return "-".join(("my", *words))


def check_known(where: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Check that all fields of a table are known.

    Raises:
        ScenarioError: One is not; the message names the first one.
    """
    known = list(known)
    if unknown := sorted(set(given) - set(known)):
        hint = did_you_mean(unknown[0], known)
        raise ScenarioError(f"{where}: unknown field {unknown[0]!r} of {names_in(known)}{hint}")
