"""Describe address translation between a person and the internet, in the terms of RFC 4787.

A person may be behind two translators: the router at home, and the carrier's (CGNAT, RFC 6888).

- Mapping (RFC 4787, 4.1): which port outside stands for a port inside. `endpoint-independent`: one
  port, whoever is addressed. `address-and-port-dependent`: another port for each endpoint that is
  addressed, drawn at random; people call it symmetric.
- Filtering (RFC 4787, 5): from whom packets come in by a port that somebody inside has opened. In
  the older terms of RFC 3489: full cone, restricted cone, port-restricted cone.

nftables has no mapping that depends on the address alone, so there is none here. Neither is there
hairpinning (RFC 4787, 6): no topology of the lab has two people behind the same translator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Literal

from testbed.evidence import Evidence

_FORBID_UNKNOWN_KEYS = {"extra": "forbid"}
Filtering = Literal["endpoint-independent", "address-dependent", "address-and-port-dependent"]
FROM_LAXEST: tuple[Filtering, ...] = (
    "endpoint-independent",
    "address-dependent",
    "address-and-port-dependent",
)
"""The kinds of filtering, each of which lets in less than the one before it."""


@dataclass(frozen=True)
class Translator:
    """A router that translates addresses."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    mapping: Literal["endpoint-independent", "address-and-port-dependent"]
    filtering: Filtering
    udp_timeout_s: int = 120
    """After how long without a packet a port is closed (RFC 4787, 4.3, wants at least 120)."""
    blocks_udp: bool = False
    """Whether it is also a firewall that lets no UDP out."""

    def __post_init__(self) -> None:
        if self.udp_timeout_s < 1:
            raise ValueError("udp_timeout_s: must be at least 1")
        if self.mapping != FROM_LAXEST[0] and self.filtering == FROM_LAXEST[0]:
            raise ValueError(
                "filtering: with a mapping that depends on the endpoint, a port is open for that "
                'endpoint alone; choose "address-and-port-dependent"'
            )


@dataclass(frozen=True)
class Nat:
    """What translates the addresses of one person (`scenarios/nats/`).

    Raises:
        ValueError: A translator has no evidence, or there is evidence for one that is not given.
    """

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    title: str
    evidence: Mapping[str, Evidence]
    """The evidence for each translator, or each of its values as `TRANSLATOR.KEY`."""
    home: Translator | None = None
    """The router at home."""
    carrier: Translator | None = None
    """The carrier's."""
    name: str = field(default="", kw_only=True)
    """The file's name."""

    def __post_init__(self) -> None:
        given = {name for name in ("home", "carrier") if getattr(self, name) is not None}
        known = {f"{name}.{each.name}" for name in given for each in fields(Translator)}
        if missing := given - set(self.evidence):
            raise ValueError(f"evidence is missing for {sorted(missing)}")
        if unknown := set(self.evidence) - given - known:
            raise ValueError(f"evidence for missing values: {sorted(unknown)}")

    @property
    def translators(self) -> tuple[Translator, ...]:
        """The translators, from the person outwards."""
        return tuple(each for each in (self.home, self.carrier) if each is not None)
