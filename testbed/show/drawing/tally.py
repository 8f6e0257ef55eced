"""Count a run's calls by messenger, transport and censor, for the figures.

Failed cells have left only their names, from which their keys are reconstructed.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from testbed.analysis.broken import broken
from testbed.analysis.groups import grouped
from testbed.analysis.order import place_of
from testbed.call.quality.verdict import Verdict
from testbed.record.cell_record import DIRECT, OPEN, CallKey
from testbed.record.results import RecordedCell

_NUMBER = re.compile(r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)")
_LAST = (1.0, 0.0, 0.0)
"""The place of calls of which none was conducted."""


@dataclass(frozen=True)
class Tally:
    """The calls of one messenger through one transport and one censor, over all seeds."""

    key: CallKey
    verdicts: Mapping[Verdict, int]
    """The number of calls by verdict; only verdicts that occurred."""
    failed: int = 0
    """The number of calls that could not be conducted, and so have no verdict."""
    chat_sent: int = 0
    chat_delivered: int = 0
    broken: str = ""
    """Why the transport does not work here, in words; empty if nothing is wrong with it."""

    @property
    def calls(self) -> int:
        """The number of calls that were conducted, n."""
        return sum(self.verdicts.values())

    @property
    def usable(self) -> int:
        """The number of calls that were usable or better."""
        return sum(n for verdict, n in self.verdicts.items() if verdict >= Verdict.USABLE)

    @property
    def usable_share(self) -> float | None:
        """The share of calls that were usable or better; None if there were none."""
        return self.usable / self.calls if self.calls else None

    @property
    def chat_share(self) -> float | None:
        """The share of the chat's messages that were delivered; None if none was sent."""
        return self.chat_delivered / self.chat_sent if self.chat_sent else None


def tally(cells: Iterable[RecordedCell], failures: Iterable[str]) -> list[Tally]:
    """Return a tally of calls and failed cells for each messenger, transport and censor.

    The most restricted messengers come first, so that an unrestricted one stands below the others
    for comparison. Within a messenger, no restriction comes first, and within a censor the best
    transport.
    """
    cells = list(cells)
    groups = grouped(cells)
    conducted = {cell.id for cell in cells}
    failed = _failed_by_key(cells, (name for name in failures if name not in conducted))
    defects = broken(cells)
    tallies = [
        replace(
            _count(key, groups.get(key, ()), failed[key]), broken=defects.get(key.transport, "")
        )
        for key in {*groups, *failed}
    ]
    return _ordered(tallies, groups)


def by_messenger(tallies: Sequence[Tally]) -> list[tuple[str, list[Tally]]]:
    """Return each messenger's title with its tallies, in their order."""
    return [(title, list(group)) for title, group in groupby(tallies, lambda t: t.key.messenger)]


def _count(key: CallKey, cells: Sequence[RecordedCell], failed: int) -> Tally:
    return Tally(
        key,
        verdicts=Counter(cell.record.verdict for cell in cells),
        failed=failed,
        chat_sent=sum(cell.record.chat.sent for cell in cells),
        chat_delivered=sum(cell.record.chat.delivered for cell in cells),
    )


def _failed_by_key(cells: Sequence[RecordedCell], names: Iterable[str]) -> Counter[CallKey]:
    """Return the number of failed cells by their keys.

    A failed cell leaves only its name, in which everything except letters, digits and dots became a
    hyphen. The original spelling is taken from other cells, or else the name's part is used as is.
    """
    titles, words = {}, {OPEN: OPEN, DIRECT: DIRECT}
    for cell in cells:
        title, transport, censor = cell.record.key
        titles[_part(cell.record.messenger)] = title
        words |= {_part(transport): transport, _part(censor): censor}
    counts: Counter[CallKey] = Counter()
    for name in names:
        messenger, transport, censor, *_ = [*name.split("--"), "?", "?"]
        title = titles.get(messenger, messenger.capitalize())
        counts[CallKey(title, words.get(transport, transport), words.get(censor, censor))] += 1
    return counts


def _part(text: str) -> str:
    """Return a name as it is spelled within a cell's name."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-")


def _ordered(
    tallies: Iterable[Tally], groups: Mapping[CallKey, Sequence[RecordedCell]]
) -> list[Tally]:
    worst: defaultdict[str, float] = defaultdict(lambda: 1.0)
    tallies = list(tallies)
    places = {key: place_of(group) for key, group in groups.items()}
    for t in tallies:
        if t.usable_share is not None:
            messenger = t.key.messenger
            worst[messenger] = min(worst[messenger], t.usable_share)
    return sorted(
        tallies,
        key=lambda t: (
            worst[t.key.messenger],
            t.key.messenger,
            *(t.key.censor != OPEN, natural(t.key.censor)),
            places.get(t.key, _LAST),
            natural(t.key.transport),
        ),
    )


def natural(text: str) -> tuple[str | float, ...]:
    """Return a key that sorts numbers in names by value: rate=64 before rate=512."""
    return tuple(
        float(part) if index % 2 else part for index, part in enumerate(_NUMBER.split(text))
    )
