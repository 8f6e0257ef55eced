"""Writes dumps of a browser's counters as webrtc-internals and rtcstats do."""

from __future__ import annotations

import json
from collections.abc import Sequence

RECEIVED_A_SECOND = 50


def internals_dump(
    lost: Sequence[int] = (0,) * 10 + (15,) * 20, received: Sequence[int] | None = None
) -> str:
    """Return a webrtc-internals dump of one incoming stream, with what was lost each second."""
    got = [RECEIVED_A_SECOND - each for each in lost] if received is None else received
    times = [1_755_000_000_000 + 1000 * second for second in range(len(lost) + 1)]
    columns = {
        "timestamp": times,
        "packetsLost": [sum(lost[:n]) for n in range(len(lost) + 1)],
        "packetsReceived": [sum(got[:n]) for n in range(len(lost) + 1)],
        "jitter": [0.004] * len(times),
    }
    stats = {
        f"IT01A111-{name}": {"statsType": "inbound-rtp", "values": json.dumps(values)}
        for name, values in columns.items()
    }
    return json.dumps({"PeerConnections": {"1-1": {"url": "https://call.example", "stats": stats}}})


def rtcstats_dump(lost: Sequence[int] = (0,) * 10 + (15,) * 20) -> str:
    """Return the same counters as an rtcstats dump: reports as differences, with short names."""
    lines = ["RTCStatsDump", json.dumps({"fileFormat": 3})]
    for second in range(len(lost) + 1):
        report = {
            "type": 1,
            "15": sum(lost[:second]),
            "14": second * RECEIVED_A_SECOND - sum(lost[:second]),
        }
        delta = {"IT01A111": report, "timestamp": 1_755_000_000_000 + 1000 * second}
        lines.append(json.dumps(["getStats", "PC_0", delta, 1000 * second]))
    return "\n".join(lines) + "\n"
