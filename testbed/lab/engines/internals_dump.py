"""Write an end's statistics as a dump of Chromium's page webrtc-internals.

Such a dump is one JSON object with the values of each counter as a list, one a second;
`testbed.tools.fitting.webrtc_dumps` reads dumps. Here the statistics are those of libwebrtc's own
reports (W3C webrtc-stats), each a list of objects with an `id` and a `type`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

Stats = Mapping[str, bool | float | str]
"""One object of a report."""
_COUNTERS = {
    "concealed": "concealedSamples",
    "total": "totalSamplesReceived",
    "silent": "silentConcealedSamples",
    "lost": "packetsLost",
    "nacks": "nackCount",
    "jitterBufferDelay": "jitterBufferDelay",
    "emitted": "jitterBufferEmittedCount",
}
"""By the name in a call's record (`testbed.call.playout_counters`): counters of what came in."""
_NO_VALUES = {"id", "type"}
_US_PER_S = 1e6
"""libwebrtc's times are in microseconds."""


def internals_dump(connection: str, reports: Sequence[Sequence[Stats]]) -> str:
    """Return the dump of one connection's reports, in the order in which they were made."""
    series: dict[str, _Series] = {}
    for report in reports:
        for one in report:
            at_s = float(one["timestamp"]) / _US_PER_S
            known = {**one, "timestamp": 1000 * at_s}
            for name in sorted(known.keys() - _NO_VALUES):
                key = f"{one['id']}-{name}"
                own = series.setdefault(key, _Series(str(one["type"]), at_s))
                own.values.append(known[name])
                own.last_s = at_s
    stats = {key: own.entry() for key, own in series.items()}
    return json.dumps({"PeerConnections": {connection: {"url": "", "stats": stats}}}, indent=0)


@dataclass
class _Series:
    """The values of one counter."""

    kind: str
    first_s: float
    last_s: float = 0.0
    values: list[bool | float | str] = field(default_factory=list)

    def entry(self) -> dict[str, str]:
        """Return what the dump has of it."""
        return {
            "statsType": self.kind,
            "startTime": _iso(self.first_s),
            "endTime": _iso(self.last_s),
            "values": json.dumps(self.values),
        }


def _iso(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds")


def counters_of(report: Sequence[Stats]) -> dict[str, float]:
    """Return the counters of what an end received, from one of its reports."""
    by_id = {one["id"]: one for one in report}
    found: dict[str, float] = {}
    for one in report:
        if one["type"] == "inbound-rtp":
            found["at"] = float(one["timestamp"]) / _US_PER_S
            found |= {name: float(one[key]) for name, key in _COUNTERS.items() if key in one}
        pair = by_id.get(one.get("selectedCandidatePairId", ""))
        if one["type"] == "transport" and pair is not None:
            if "currentRoundTripTime" in pair:
                found["rtt"] = float(pair["currentRoundTripTime"])
            local = by_id[pair["localCandidateId"]]
            found["by_tcp"] = float(local.get("relayProtocol") == "tcp")
    return found
