"""Read what people need to know of a transport besides its measurements: apps, ends, risks.

Each transport may have a file `scenarios/transports/NAME.toml`. One without a file works as well;
whoever puts results into words then says that nothing is known of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import ConfigDict

from testbed.evidence import Evidence, check_reviewed
from testbed.experiment.scenario import SCENARIOS
from testbed.experiment.toml_files import read_toml, validated

FOLDER = SCENARIOS / "transports"
_FORBID_UNKNOWN_KEYS = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class TransportFacts:
    """What people need to know of a transport."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    needs: str
    """What must exist at the far end, as the object of "needs": "an obfs4 bridge abroad"."""
    reviewed: str
    """When the file was last checked against its sources, such as `2026-11-30`."""
    evidence: Mapping[str, Evidence]
    """The source and confidence of `apps`, `needs` and `risks`."""
    apps: tuple[str, ...] = ()
    """Programs in which people use it; empty: none is known to us."""
    for_people: bool = True
    """Whether it is a program that people can have; otherwise it was written to compare methods."""
    ends: Literal["one", "both"] = "one"
    """Whether only the restricted end of a call must use it, or both."""
    risks: tuple[str, ...] = ()
    """Known risks and limits, each a sentence."""
    name: str = field(default="", kw_only=True)
    """The file's name."""

    def __post_init__(self) -> None:
        check_reviewed(self.reviewed)
        given = {"needs", *(name for name in ("apps", "risks") if getattr(self, name))}
        if lacking := sorted(given - set(self.evidence)):
            raise ValueError(f"evidence: {', '.join(lacking)} needs a source and a confidence")


def transport_facts() -> dict[str, TransportFacts]:
    """Return what is known of transports, by the names of their files in `transports/`.

    Raises:
        ScenarioError: A file is wrong.
    """
    paths = sorted(FOLDER.glob("*.toml"))
    return {path.stem: validated(path, read_toml(path), TransportFacts) for path in paths}
