"""Describe how a flow begins, and the facts that detectors should state about that.

A calibration sends such openings across a middlebox. Those of the project are written from the
protocols' specifications, independently of the detectors, in `testbed.tools.calibration.openings`.
The file of a detector may bring `OPENINGS` of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
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

    def last_step_of(self, labels: AbstractSet[str]) -> int:
        """Return the number of the step, from 1, at which all of these labels are known.

        Values, and labels that it does not reveal, count as known with the first step.
        """
        numbers = {label: n for n, step in enumerate(self.steps, 1) for label in step.labels}
        return max((numbers.get(label, 1) for label in labels), default=1)

    @property
    def labels(self) -> frozenset[str]:
        """Return all labels that the opening reveals."""
        return frozenset().union(*(step.labels for step in self.steps))
