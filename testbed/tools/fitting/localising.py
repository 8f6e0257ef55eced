"""Says on which part of a path something was done, by the same call through a second server.

The ways to two servers share a part at this end. What is done alike on both ways is done on that
part, or by somebody who treats both servers alike; what is done on one way only is done behind it,
or because of the server. If both were recorded at the same time, losses that rise and fall together
point to one bottleneck. That is the idea of WeHeY, which replays to two servers at once; here the
windows are of a second and the correlation is of ranks (Spearman, Am. J. Psychol. 15, 1904).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.stats import spearmanr

from testbed.tools.fitting.columns import Floats
from testbed.tools.fitting.controls import overlaps
from testbed.tools.fitting.examination import Examination
from testbed.tools.fitting.fit_findings import Finding, phrase
from testbed.tools.fitting.passages import Passage
from testbed.tools.fitting.profile_file import counts

_WINDOW_S = 1.0
_LEAST_WINDOWS, _LEAST_IN_WINDOW = 20, 5
_CHANCE = 1e-3
_LOSSES = ("drop", "burst", "police")


def located(
    examined: Examination, findings: Sequence[Finding], second: Examination
) -> list[Finding]:
    """Return findings, with where those that count were done, by what the second server shows."""
    return [
        replace(each, location=_location(each, examined, second)) if counts(each) else each
        for each in findings
    ]


def _location(finding: Finding, examined: Examination, second: Examination) -> str:
    alike = [each for each in second.findings if _are_alike(finding, each) and counts(each)]
    if not alike:
        if not _shows(second, finding.direction):
            return "the second server's capture does not show this direction"
        return "not toward the second server: done behind the shared part, or due to the server"
    if not any(each.kind == finding.kind and overlaps(finding, each) for each in alike):
        text = f"toward the second server, too, but with other numbers: {phrase(alike[0].kind)}"
    else:
        text = (
            "toward the second server, too: done on the shared part of the way, or to both servers"
        )
    return text + _together(finding, examined, second)


def _are_alike(one: Finding, other: Finding) -> bool:
    """Return whether findings are of one direction and kind; patterns of loss are one kind."""
    kinds = {one.kind, other.kind}
    same = len(kinds) == 1 or kinds <= set(_LOSSES)
    return same and one.direction == other.direction


def _shows(examined: Examination, direction: str) -> bool:
    ways = {each.direction.value for each in examined.passages}
    return direction in ways or direction != "up"


def _together(finding: Finding, examined: Examination, second: Examination) -> str:
    """Return whether losses of both rise and fall together, if they were recorded at once."""
    one, other = examined.passage(finding), _largest(second, finding.direction)
    if finding.kind not in _LOSSES or one is None or other is None:
        return ""
    shares = _shares(one, examined.near.began_at), _shares(other, second.near.began_at)
    windows = sorted(shares[0].keys() & shares[1].keys())
    if len(windows) < _LEAST_WINDOWS:
        return ""
    columns = [np.array([share[window] for window in windows]) for share in shares]
    if any(np.ptp(column) == 0 for column in columns):
        return ""
    found = spearmanr(*columns)
    correlation, chance = float(found.statistic), float(found.pvalue)
    if chance > _CHANCE or correlation <= 0:
        return f"; losses in the same seconds do not go together ({correlation:.2f})"
    return f"; losses rise and fall together ({correlation:.2f}), as in one bottleneck"


def _shares(passage: Passage, began_at: float) -> dict[int, float]:
    """Return the share lost in each window, by its number since 1970."""
    at_s: Floats = passage.sent_s[passage.counted] + began_at
    lost = passage.lost[passage.counted]
    numbers = np.floor(at_s / _WINDOW_S).astype(np.int64)
    windows, place = np.unique(numbers, return_inverse=True)
    of = np.bincount(place)
    share = np.bincount(place, weights=lost) / of
    return {
        int(window): float(each)
        for window, each, count in zip(windows, share, of, strict=True)
        if count >= _LEAST_IN_WINDOW
    }


def _largest(examined: Examination, direction: str) -> Passage | None:
    alike = [each for each in examined.passages if each.direction.value == direction]
    return max(alike, key=lambda each: int(each.counted.sum()), default=None)
