"""Order kinds of calls by what was asked: which transport, or up to which value of a sweep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from testbed.analysis.groups import grouped
from testbed.analysis.sweeps import limits, sweep_of
from testbed.call.quality.verdict import Verdict
from testbed.record.cell_record import CallKey
from testbed.record.results import RecordedCell

Groups = Mapping[CallKey, Sequence[RecordedCell]]


def best_first(cells: Iterable[RecordedCell]) -> dict[CallKey, list[RecordedCell]]:
    """Return the groups of calls that differ only in their seed, the best first.

    Messengers and censors are in the order in which they first occur. Within both, the transport
    with the larger share of usable calls comes first, among equals the one with more good calls,
    and then the one with the higher median R. If a run sweeps a number, the transport with the
    higher limit comes first within a messenger, and its values follow in order.
    """
    groups = grouped(cells)
    if sweep_of(key.censor for key in groups):
        return _by_limit(groups)
    messengers = list(dict.fromkeys(key.messenger for key in groups))
    censors = list(dict.fromkeys(key.censor for key in groups))
    ordered = sorted(
        groups,
        key=lambda key: (
            messengers.index(key.messenger),
            censors.index(key.censor),
            *place_of(groups[key]),
        ),
    )
    return {key: groups[key] for key in ordered}


def place_of(group: Sequence[RecordedCell]) -> tuple[float, float, float]:
    """Return the key by which groups of one messenger and censor are sorted, the best first."""
    calls = [cell.record for cell in group]
    usable = sum(call.verdict >= Verdict.USABLE for call in calls) / len(calls)
    good = sum(call.verdict is Verdict.GOOD for call in calls) / len(calls)
    rating = median(0.0 if call.worse is None else call.worse.r_fullband_100 for call in calls)
    return -usable, -good, -rating


def _by_limit(groups: Mapping[CallKey, list[RecordedCell]]) -> dict[CallKey, list[RecordedCell]]:
    found = limits(cell for group in groups.values() for cell in group)
    places = {(one.messenger, one.transport): place for place, one in enumerate(found)}
    values = next(iter(found)).values
    settings = sweep_of(key.censor for key in groups) or {}

    def place_of_key(key: CallKey) -> tuple[int, int]:
        setting = settings.get(key.censor)
        is_tried = setting is not None and setting.number in values
        value = values.index(setting.number) if setting is not None and is_tried else -1
        return places.get((key.messenger, key.transport), len(places)), value

    return {key: groups[key] for key in sorted(groups, key=place_of_key)}
