"""Find what changed from one run to another: inputs, versions, cells, verdicts and medians."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from math import isinf

from testbed.analysis.comparison import MEASURES, by_seed
from testbed.analysis.groups import grouped
from testbed.analysis.statistics import Estimate, median_effect, median_of
from testbed.record.cell_record import CallKey
from testbed.record.manifest import Manifest
from testbed.record.results import RecordedCell, Run


@dataclass(frozen=True)
class Change:
    """A part of the runs that differs; None if a run does not have it."""

    part: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Shift:
    """A measure of the same calls whose median changed."""

    key: CallKey
    measure: str
    before: Estimate
    after: Estimate
    effect: Estimate
    """The median of the differences, after minus before, paired by seed."""

    @property
    def is_beyond_spread(self) -> bool | None:
        """Whether the change exceeds the spread over seeds; None if one seed cannot show this.

        It does if the intervals of the two medians do not overlap.
        """
        if isinf(self.before.low) or isinf(self.after.low):
            return None
        return not self.before.overlaps(self.after)


@dataclass(frozen=True)
class Difference:
    """What changed from one run to another; everything is empty if they are the same."""

    made_of: tuple[Change, ...]
    """Changes of the scenario, the kernel, versions and inputs."""
    only_before: tuple[str, ...]
    """Cells that only the earlier run has."""
    only_after: tuple[str, ...]
    verdicts: tuple[Change, ...]
    """Cells in both runs whose verdict changed."""
    shifts: tuple[Shift, ...]
    cells: int
    """The number of cells in both runs, n."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing changed."""
        return not (
            self.made_of or self.only_before or self.only_after or self.verdicts or self.shifts
        )


def difference(before: Run, after: Run) -> Difference:
    """Compare two runs.

    Raises:
        ResultsError: One of the folders does not hold a run.
    """
    old, new = ({cell.id: cell for cell in run.cells()} for run in (before, after))
    common = [name for name in old if name in new]
    return Difference(
        tuple(_changes(_made_of(before.manifest()), _made_of(after.manifest()))),
        tuple(name for name in old if name not in new),
        tuple(name for name in new if name not in old),
        tuple(
            Change(name, old[name].record.verdict.label, new[name].record.verdict.label)
            for name in common
            if old[name].record.verdict is not new[name].record.verdict
        ),
        tuple(_shifts([old[n] for n in common], [new[n] for n in common])),
        len(common),
    )


def _made_of(manifest: Manifest) -> dict[str, str]:
    kernel = {name: value for name, value in asdict(manifest.kernel).items() if value}
    groups = {"kernel": kernel, "versions": manifest.versions, "inputs": manifest.inputs}
    return {
        "scenario": manifest.scenario.name,
        **{f"{group}: {k}": value for group, found in groups.items() for k, value in found.items()},
    }


def _changes(before: Mapping[str, str], after: Mapping[str, str]) -> Iterable[Change]:
    for part in dict.fromkeys((*before, *after)):
        if before.get(part) != after.get(part):
            yield Change(part, before.get(part), after.get(part))


def _shifts(before: Iterable[RecordedCell], after: Iterable[RecordedCell]) -> Iterable[Shift]:
    old, new = grouped(before), grouped(after)
    for key in old:
        for measure in MEASURES:
            was, now = by_seed(old[key], measure), by_seed(new.get(key, ()), measure)
            effect = median_effect(now, was)
            earlier, later = median_of(list(was.values())), median_of(list(now.values()))
            if was != now and earlier and later and effect:
                yield Shift(key, measure, earlier, later, effect)
