"""Names the packets after which something began: the last ones, and what detectors saw by then.

A middlebox that acts on what it recognises does so at a packet. Which one that was cannot be seen,
but it is among the last packets before the beginning; the interval of the beginning says how many
these are.
"""

from __future__ import annotations

import numpy as np

from testbed.tools.fitting.capture_reading import FlowRecord
from testbed.tools.fitting.wire_identity import Kind

_NAMES = {
    Kind.OTHER: "a packet that is not recognised",
    Kind.RTP: "RTP",
    Kind.COUNTER: "a numbered packet",
    Kind.STUN: "STUN",
    Kind.RTCP: "RTCP",
}


def before(flow: FlowRecord, low_s: float, at_s: float) -> str:
    """Describe what came last before a beginning, between `low_s` and `at_s` of the flow's time.

    Times are seconds since the flow's first packet. The text has no address and no content.
    """
    columns = flow.columns
    own_s = columns.at_s - columns.at_s[0]
    last = int(np.searchsorted(own_s, at_s, side="right")) - 1
    if last < 0:
        return ""
    first = min(int(np.searchsorted(own_s, low_s)), last)
    way = "up" if columns.out[last] else "down"
    text = (
        f"last before it: packet {last + 1} of the flow ({_name(flow, last)}, "
        f"{columns.size_bytes[last]} bytes, {way})"
    )
    if last > first:
        text += f", or one of the {last - first} before that"
    return text + _recognised(flow, at_s)


def _name(flow: FlowRecord, row: int) -> str:
    if flow.seen.protocol == "tcp":
        return f"a segment with {flow.columns.ticks[row]} bytes of content"
    return _NAMES[Kind(int(flow.columns.kind[row]))]


def _recognised(flow: FlowRecord, at_s: float) -> str:
    """Return which detector was the last to state a fact until then, without the fact's value."""
    began_s = float(flow.columns.at_s[0])
    facts = [each for each in flow.seen.facts if each.when.after_s - began_s <= at_s]
    if not facts:
        return "; nothing was recognised by then"
    last = facts[-1]
    return f"; recognised last: {last.name}, after {last.when.after_s - began_s:.3f} s"
