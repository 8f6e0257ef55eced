"""Sort transports by how calls through them went on one line under one censor."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from testbed.analysis.broken import broken
from testbed.call.quality.verdict import Verdict
from testbed.experiment.transport_facts import TransportFacts
from testbed.record.cell_record import DIRECT, CellRecord
from testbed.record.results import RecordedCell
from testbed.show.answer.wording import facts_of, usable_of


@dataclass(frozen=True)
class Recorded:
    """Calls under a censor on one line, and where they are recorded."""

    record: str
    """The name of the run or of the published record."""
    line: str
    """The line, in words."""
    cells: Sequence[RecordedCell]


@dataclass(frozen=True)
class Tool:
    """How the calls through one transport went."""

    name: str
    calls: str
    """How many of its calls were usable, with the certainty, by messenger where they differ."""
    facts: TransportFacts | None


@dataclass(frozen=True)
class Line:
    """What is known of one line."""

    words: str
    record: str
    messengers: Sequence[str]
    works: Sequence[Tool]
    """Every call through it was usable; the best first."""
    partly: Sequence[Tool]
    fails: Sequence[Tool]
    too_few: Sequence[str]
    """Transports of which only one call of each kind was tried."""
    broken: Mapping[str, str]
    """Transports that do not work in the lab, with the reason: nothing is known of them."""
    methods: Sequence[str]
    """Transports that are no programs that people can have."""
    untried: Sequence[str]


def line_of(recorded: Recorded, known: Mapping[str, TransportFacts]) -> Line:
    """Return what the calls on a line say of each transport."""
    calls: defaultdict[str, list[CellRecord]] = defaultdict(list)
    for cell in recorded.cells:
        calls[cell.record.transport].append(cell.record)
    defects = broken(recorded.cells)
    counted = {name: group for name, group in calls.items() if name not in defects}
    methods = [name for name in counted if (one := facts_of(name, known)) and not one.for_people]
    counted = {name: group for name, group in counted.items() if name not in methods}
    single = [name for name, group in counted.items() if _fewest(group) == 1]
    ordered = sorted(
        (name for name in counted if name not in single), key=lambda name: -_share(counted[name])
    )
    tools = {name: Tool(name, _counts(counted[name]), facts_of(name, known)) for name in ordered}
    tried = {name.partition(" ")[0] for name in calls}
    return Line(
        words=recorded.line,
        record=recorded.record,
        messengers=list(dict.fromkeys(cell.record.messenger_title for cell in recorded.cells)),
        works=[tools[name] for name in ordered if _share(counted[name]) == 1],
        partly=[tools[name] for name in ordered if 0 < _share(counted[name]) < 1],
        fails=[tools[name] for name in ordered if _share(counted[name]) == 0],
        too_few=single,
        broken=defects,
        methods=methods,
        untried=[name for name, one in known.items() if one.for_people and name not in tried],
    )


def _share(calls: Iterable[CellRecord]) -> float:
    usable = [call.verdict >= Verdict.USABLE for call in calls]
    return sum(usable) / len(usable)


def _by_messenger(calls: Iterable[CellRecord]) -> dict[str, list[CellRecord]]:
    found: dict[str, list[CellRecord]] = {}
    for call in calls:
        found.setdefault(call.messenger_title, []).append(call)
    return found


def _fewest(calls: Iterable[CellRecord]) -> int:
    return min(map(len, _by_messenger(calls).values()))


def _counts(calls: Sequence[CellRecord]) -> str:
    usable = sum(call.verdict >= Verdict.USABLE for call in calls)
    text = usable_of(usable, len(calls))
    if usable in (0, len(calls)):
        return text
    parts = [
        f"{messenger} {sum(c.verdict >= Verdict.USABLE for c in group)} of {len(group)}"
        for messenger, group in _by_messenger(calls).items()
    ]
    return f"{text}: {', '.join(parts)}"


def title_of(tool: Tool) -> str:
    """Return a tool's name with all apps that have it."""
    if tool.name == DIRECT:
        return "nothing (direct calls)"
    apps = ", ".join(tool.facts.apps) if tool.facts is not None else ""
    return f"{tool.name} ({apps})" if apps else tool.name
