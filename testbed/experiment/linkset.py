"""Define a named set of links as read from its file, with a source for each number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields

from testbed.evidence import Evidence
from testbed.experiment.link import Link, Links, Neighbour, Override

_LINKS = tuple(f.name for f in fields(Links) if f.type == "Link")


@dataclass(frozen=True)
class LinkSet:
    """The links of one kind of access line (`scenarios/links/`). A missing link is a perfect one.

    Raises:
        ValueError: A given number has no evidence, or there is evidence for a number not given.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - read by pydantic

    title: str
    evidence: Mapping[str, Evidence]
    """The evidence for each given value, by `LINK.KEY` or `LINK.DIRECTION.KEY`, or for all values
    of a direction or a link, by `LINK.DIRECTION` or `LINK`."""
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
    caller_nat: str = ""
    """What translates the caller's addresses, by its name in `scenarios/nats/`; empty: nothing."""
    callee_nat: str = ""
    """The same for the callee."""
    neighbour: Neighbour = "none"
    """What somebody else at the caller's home does; `"SET beside upload"` chooses it, too."""
    name: str = field(default="", kw_only=True)
    """The file's name."""

    def __post_init__(self) -> None:
        given = {f"{name}.{key}" for name in _LINKS for key in _given(getattr(self, name), Link())}
        given |= {name for name in ("caller_nat", "callee_nat") if getattr(self, name)}
        given |= {"neighbour"} if self.neighbour != "none" else set()
        covering = {key: set(_prefixes(key)) for key in given}
        if missing := {key for key, found in covering.items() if not found & set(self.evidence)}:
            raise ValueError(f"evidence is missing for {sorted(missing)}")
        if unknown := set(self.evidence) - set().union(*covering.values()):
            raise ValueError(f"evidence for missing numbers: {sorted(unknown)}")

    @property
    def links(self) -> Links:
        """The links, with all sources joined in one text."""
        sources = (f"{key}: {e.source} ({e.confidence})" for key, e in self.evidence.items())
        return Links("; ".join((self.title, *sources)), **{n: getattr(self, n) for n in _LINKS})


def _given(link: Link | Override, default: Link | Override) -> Iterator[str]:
    """Yield the keys of a link that differ from its defaults, such as `loss` or `up.rate_mbps`."""
    for each in fields(link):
        value = getattr(link, each.name)
        if isinstance(value, Override):
            yield from (f"{each.name}.{key}" for key in _given(value, Override()))
        elif value != getattr(default, each.name):
            yield each.name


def _prefixes(key: str) -> Iterator[str]:
    """Return a dotted key and all keys under which it is."""
    parts = key.split(".")
    return (".".join(parts[:length]) for length in range(1, len(parts) + 1))
