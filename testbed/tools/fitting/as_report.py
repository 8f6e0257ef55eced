"""Writes what a capture shows of a call as a report, which `infer` weighs with what people say.

A report says whether the call was set up: media of the call came in and went out, or not. How the
call sounded is not in a capture, so no verdict is. The report has no address and no name.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np

from testbed.tools.fitting.examination import Examination
from testbed.tools.fitting.passages import LEAST_PACKETS
from testbed.tools.fitting.wire_identity import Kind

_MESSENGERS = (("whatsapp-like", "whatsapp"), ("telegram-reflector", "telegram"))
_SOURCE_CLASS = "user"
"""A capture is as reliable as the person who made it, and one call is one line and one phone."""
_UNKNOWN = "the detectors do not tell which messenger made the call"


def report_of(examined: Examination) -> str:
    """Return the report as TOML, to be added to a file of reports."""
    near = examined.near
    labels = {label for flow in near.flows for label in flow.labels}
    messenger = next((name for label, name in _MESSENGERS if label in labels), "")
    connects = has_media(examined)
    said = "media went out and came in" if connects else "no media came in, or none went out"
    lines = [
        "[[reports]]",
        f'name = "capture-{near.sha256[:8]}"',
        f'said = "a capture of one call: {said}"',
        f'messenger = "{messenger}"',
        f"observed = {{ connects = {json.dumps(connects)} }}",
        'calls = "one"',
        f'when = "{datetime.fromtimestamp(near.began_at, UTC).date()}"',
        f'source = "capture sha256:{near.sha256[:16]}"',
        f'source_class = "{_SOURCE_CLASS}"',
    ]
    if not messenger:
        lines.append(f'not_in_lab = "{_UNKNOWN}"')
    return "\n".join(lines) + "\n"


def has_media(examined: Examination) -> bool:
    """Return whether numbered packets of some UDP flow went out and came in."""
    for flow in examined.near.flows:
        columns = flow.columns
        numbered = np.isin(columns.kind, (Kind.RTP, Kind.COUNTER))
        ways = (int((numbered & columns.out).sum()), int((numbered & ~columns.out).sum()))
        if flow.seen.protocol == "udp" and min(ways) >= LEAST_PACKETS:
            return True
    return False
