"""The dialects: how each kind of messenger talks to its relay and to the other end of a call.

A dialect defines one end of a call: its exchanges in order (`steps`), its answers to the other end
(`answer`) and its media packets. A relay connects the two ends of a call. Each file here with
`DIALECTS` is a dialect, or several that share their relay.
"""

from collections.abc import Mapping

from testbed.call.dialects.base import (
    SIGNALLED,
    Dialect,
    Framing,
    PathProtocol,
    Relay,
    RelayProtocol,
    Session,
    Shortcuts,
    Stage,
    Step,
)
from testbed.plugins import Plugins

__all__ = [
    "DIALECTS",
    "SIGNALLED",
    "Dialect",
    "Framing",
    "PathProtocol",
    "Relay",
    "RelayProtocol",
    "Session",
    "Shortcuts",
    "Stage",
    "Step",
]

_Ends = tuple[type[Dialect], type[Relay]]
_FOUND: Mapping[str, Mapping[str, _Ends]] = Plugins(__name__, "DIALECTS")
DIALECTS: Mapping[str, _Ends] = {
    name: ends for found in _FOUND.values() for name, ends in sorted(found.items())
}
"""By name: the dialect and its relay."""
