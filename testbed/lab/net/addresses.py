"""Which addresses are inside the country, and which nodes are its middleboxes; no wiring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from testbed.experiment.cell import Topology

INSIDE, INSIDE2 = "10.1.0.0/16", "10.3.0.0/16"
"""The caller's provider, and the callee's if that is inside, too."""
OUTSIDE = "10.2.0.0/16"
DOMESTIC_SERVERS = ("10.1.3.0/24", "10.3.3.0/24")
"""Of the providers' networks, those with servers: where people are is not exempt for being inside,
or what two of them say to each other across two boxes would be."""
ADDRESS_LISTS = {"domestic": DOMESTIC_SERVERS, "foreign": (OUTSIDE,)}
"""The address lists that profiles may name in `match.servers`."""
BOXES: Mapping[Topology, Sequence[str]] = {
    "one-sided": ("middlebox",),
    "both-sides": ("middlebox", "middlebox2"),
}
"""The middleboxes' nodes, the caller's first; the first interface of each is the inside one."""
