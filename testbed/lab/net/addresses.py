"""The lab's IPv4 networks, inside and outside the country, and the nodes that are middleboxes.

`topology` wires them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from testbed.experiment.cell import Topology

INSIDE, INSIDE2 = "10.1.0.0/16", "10.3.0.0/16"
"""The caller's provider, and the callee's if that is inside, too."""
OUTSIDE = "10.2.0.0/16"
DOMESTIC_SERVERS = ("10.1.3.0/24", "10.1.5.0/24", "10.3.3.0/24")
"""The part of each provider's network that has servers, and a bridge inside the country. Where
people are is left out: otherwise a rule that exempts domestic addresses would exempt a call between
two people inside the country."""
ADDRESS_LISTS = {"domestic": DOMESTIC_SERVERS, "foreign": (OUTSIDE,)}
"""The address lists that profiles may name in `match.servers`."""
RELAY_LIST = "messenger-foreign"
"""The address list with the messenger's relay abroad, which depends on the network."""
MIDDLEBOXES: Mapping[Topology, Sequence[str]] = {
    "one-sided": ("middlebox",),
    "both-sides": ("middlebox", "middlebox2"),
    "domestic-bridge": ("middlebox",),
}
"""The middleboxes' nodes, the caller's first. The first interface of each is on the inside."""


def address_lists(relay: str) -> Mapping[str, Sequence[str]]:
    """Return all address lists that profiles may name; `relay` is the relay's address abroad."""
    return {**ADDRESS_LISTS, RELAY_LIST: (relay,)}
