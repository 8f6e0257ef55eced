"""The detectors: they state facts about a flow; rules decide what happens to it.

Each file here with `KINDS` is a detector, or several for one protocol. A detector is a hypothesis
about what a middlebox looks for. It is built from reports about middleboxes, published classifiers,
and the protocols themselves; none is a measurement of a middlebox. `testbed recognise --evaluate`
shows how often the detectors of calls and of TLS in TLS are right on captures.

The order of detectors decides nothing but the order in which the log names facts that one packet
shows: all detectors see a packet before a rule is chosen, and none sees what another has stated.
"""

from __future__ import annotations

from collections.abc import Mapping

from testbed.censor.facts import Kind
from testbed.plugins import Plugins

Label = str
"""The name of a fact about a flow, as used in a profile's `match.label`."""
VALUES = ("sni", "host", "alpn", "fingerprint")
"""The facts that have a value; a profile's `match` has patterns for them."""
_FOUND: Mapping[str, tuple[Kind, ...]] = Plugins(__name__, "KINDS")
DETECTORS: tuple[Kind, ...] = tuple(kind for kinds in _FOUND.values() for kind in kinds)
"""In the order of the files' names, and in each file as it lists them."""
LABELS = frozenset(name for kind in DETECTORS for name in kind.states) - frozenset(VALUES)
