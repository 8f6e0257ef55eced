"""Define a named set of links as read from its file, with a source for each number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from testbed.evidence import Evidence
from testbed.experiment.cell import Link, Links

_LINKS = tuple(f.name for f in fields(Links) if f.type == "Link")
_NUMBERS = tuple(f.name for f in fields(Link))


@dataclass(frozen=True)
class LinkSet:
    """The links of one kind of access line (`scenarios/links/`). A missing link is a perfect one.

    Raises:
        ValueError: A given number has no evidence, or there is evidence for a number not given.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - read by pydantic

    title: str
    evidence: Mapping[str, Evidence]
    """The evidence for each given number, by `LINK.NUMBER`, or for a whole link, by `LINK`."""
    access: Link = field(default_factory=Link)
    """The caller's home to its provider."""
    domestic: Link = field(default_factory=Link)
    """A provider to a server inside the country."""
    backbone: Link = field(default_factory=Link)
    """A middlebox to the outside."""
    hosting: Link = field(default_factory=Link)
    """The outside core to a server there (bridge, relay)."""
    callee_access: Link = field(default_factory=Link)
    """The outside core to the callee's home."""
    name: str = field(default="", kw_only=True)
    """The file's name."""

    def __post_init__(self) -> None:
        default = Link()
        given = {
            f"{link}.{number}"
            for link in _LINKS
            for number in _NUMBERS
            if getattr(getattr(self, link), number) != getattr(default, number)
        }
        if missing := {key for key in given if not {key, key.split(".")[0]} & set(self.evidence)}:
            raise ValueError(f"evidence is missing for {sorted(missing)}")
        covered = given | {key.split(".")[0] for key in given}
        if unknown := set(self.evidence) - covered:
            raise ValueError(f"evidence for missing numbers: {sorted(unknown)}")

    @property
    def links(self) -> Links:
        """The links, with all sources joined in one text."""
        sources = (f"{key}: {e.source} ({e.confidence})" for key, e in self.evidence.items())
        return Links("; ".join((self.title, *sources)), **{n: getattr(self, n) for n in _LINKS})
