"""Describe how a flow begins, and the facts that detectors should state about that.

A calibration sends such openings across a middlebox. Those of the project are written from the
protocols' specifications, independently of the detectors, in `testbed.tools.calibration.openings`.
The file of a detector may bring `OPENINGS` of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

GAP_S = 0.002
"""The time from one payload of an opening to the next."""


class Step(NamedTuple):
    """One payload of an opening."""

    payload: bytes
    labels: frozenset[str] = frozenset()
    """The labels that a detector should state with this payload."""
    by_client: bool = True


@dataclass(frozen=True)
class Opening:
    """The first payloads of a flow; subsequent payloads of `filler` reveal nothing more."""

    name: str
    protocol: str
    steps: tuple[Step, ...]
    values: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Values named in the first payload: `sni`, `host`, `alpn`."""
    gap_s: float = GAP_S

    @property
    def labels(self) -> frozenset[str]:
        """Return all labels that the opening reveals."""
        return frozenset().union(*(step.labels for step in self.steps))
