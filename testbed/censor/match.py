"""Define which flows and directions a rule is for, as data, and parse the texts in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Literal

from testbed.censor.actions.list import By
from testbed.censor.detectors import LABELS, VALUES, Label
from testbed.censor.facts import OPENING_PACKETS, Kind
from testbed.censor.signature import Signature, kind_of
from testbed.errors import did_you_mean

_FORBID_UNKNOWN_KEYS = {"extra": "forbid"}


@dataclass(frozen=True)
class Match:
    """The packets that a rule is for: all given conditions must hold; with none, all packets.

    The *server* of a flow is the destination of its first packet, the *client* its source.
    """

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    protocol: Literal["udp", "tcp", "icmp"] | None = None
    label: Label | None = None
    """A fact that a detector has stated about the flow."""
    payload: Signature | None = None
    """One of the flow's first packets with payload looks like this (4, or `within_packets`); needs
    a `protocol`."""
    sni: tuple[str, ...] = ()
    """One of these matches the server name in a TLS, DTLS or QUIC ClientHello; `*` stands for any
    text, so `"*.twitter.com"` is a suffix and `"*t.co*"` a substring. Case is ignored."""
    host: tuple[str, ...] = ()
    """One of these matches HTTP's Host or the name in a DNS question; `*` as in `sni`."""
    alpn: tuple[str, ...] = ()
    """One of these matches an application protocol that a ClientHello offers; `*` as in `sni`."""
    fingerprint: tuple[str, ...] = ()
    """One of these matches the JA4 fingerprint of a ClientHello; `*` as in `sni`."""
    server_ports: tuple[str, ...] = ()
    """Ports or ranges, such as `"3478"` or `"590-1400"`; one of them contains the server's port."""
    servers: tuple[str, ...] = ()
    """IPv4 or IPv6 networks in CIDR notation, or names of address lists that the lab provides."""
    direction: Literal["up", "down"] | None = None
    opened: Literal["inside", "outside"] | None = None
    """Where the flow's first packet came from."""
    client_port: Literal["above server port"] | None = None
    """The client's port is higher than the server's."""
    flows: int | None = None
    """The client has begun at least this many flows to the server's address and port within
    `flows_s`, this one included. Flows count by their first packets, whether they have ended or
    not."""
    flows_s: float | None = None
    """The time within which `flows` are counted (s)."""
    within_packets: int | None = None
    """The facts on which the rule depends are stated by this packet with payload of the flow, at
    the latest. `[inspection]` has the limit of the whole middlebox."""
    listed: str | None = None
    """The flow is on this list, put there by a rule with the action `list`."""
    inspected: bool = False
    """True: no detector looks at the flow any more. A last rule with this condition that drops
    turns the rules before it into an allow-list, which still lets the packets pass that are needed
    to recognise a flow."""
    share: float | Mapping[int, float] | None = None
    """The share of flows for which the rule holds, out of those that meet all other conditions. A
    table has shares by the hour of local time (0 to 23); each holds until the next hour in it."""
    share_by: By | Literal["flow"] = "flow"
    """What the share is drawn for: each flow, or all flows that have this key in common;
    `"server-address"` selects a share of the destinations."""

    def __post_init__(self) -> None:
        if self.label is not None and self.label not in LABELS:
            raise ValueError(
                f"label: no detector states {self.label!r}; known: {', '.join(sorted(LABELS))}"
                f"{did_you_mean(self.label, LABELS)}"
            )
        for text in self.server_ports:
            port_range(text)
        self._check_limits()
        if self.share is None and self.share_by != "flow":
            raise ValueError("share_by: there is no share")
        if isinstance(self.share, Mapping):
            _check_hours(self.share)
        for share in self.shares.values():
            if not 0 <= share <= 1:
                raise ValueError(f"share: {share} is not between 0 and 1")

    def _check_limits(self) -> None:
        if self.payload is not None and self.protocol not in ("udp", "tcp"):
            raise ValueError("payload: needs protocol = 'udp' or 'tcp'")
        if (self.flows is None) != (self.flows_s is None):
            raise ValueError("flows, flows_s: both are needed, or none")
        if self.flows is not None and self.flows < 2:
            raise ValueError("flows: must be at least 2")
        if self.flows_s is not None and self.flows_s <= 0:
            raise ValueError("flows_s: must be more than 0")
        if self.within_packets is not None and (self.within_packets < 1 or not self.facts):
            raise ValueError("within_packets: must be at least 1, for a rule that needs a fact")

    @property
    def numbers(self) -> Mapping[str, float]:
        """Return the numbers that need evidence of their own, by name."""
        limits = {
            "flows": self.flows,
            "flows_s": self.flows_s,
            "within_packets": self.within_packets,
        }
        return {
            **{name: value for name, value in limits.items() if value is not None},
            **self.shares,
        }

    @property
    def shares(self) -> Mapping[str, float]:
        """Return the shares by name: `share`, or `share.5` for the one from 5:00 on."""
        if isinstance(self.share, Mapping):
            return {f"share.{hour}": share for hour, share in self.share.items()}
        return {} if self.share is None else {"share": self.share}

    def share_at(self, hour: float) -> float:
        """Return the share at an hour of local time (0 to below 24); 1 if there is no share."""
        if not isinstance(self.share, Mapping):
            return 1.0 if self.share is None else self.share
        begun = [each for each in self.share if each <= hour]
        return self.share[max(begun or self.share)]  # before the first hour, yesterday's last

    @property
    def values(self) -> Mapping[str, Sequence[str]]:
        """Return the patterns by the name of the fact whose value they match."""
        return {name: patterns for name in VALUES if (patterns := getattr(self, name))}

    @property
    def facts(self) -> frozenset[str]:
        """Return the names of the facts on which it depends."""
        stated = (self.label, None if self.payload is None else self.payload.fact)
        return frozenset(self.values).union(fact for fact in stated if fact is not None)

    @property
    def signature_kind(self) -> Kind | None:
        """Return the kind of detector that looks for `payload`."""
        if self.payload is None or self.protocol not in ("udp", "tcp"):
            return None
        return kind_of(self.payload, self.protocol, self.within_packets or OPENING_PACKETS)


def _check_hours(shares: Mapping[int, float]) -> None:
    if not shares:
        raise ValueError("share: the table has no hour")
    if not set(shares) <= {*range(24)}:
        raise ValueError(f"share: {sorted(shares)} are not all hours from 0 to 23")


def port_range(text: str) -> range:
    """Return the ports of a text such as `"3478"` or `"590-1400"`.

    Raises:
        ValueError: The text is neither a port nor a range of ports.
    """
    first, _, last = text.partition("-")
    try:
        ports = range(int(first), int(last or first) + 1)
    except ValueError:
        ports = range(0)
    if not ports or ports[0] < 0 or ports[-1] > 0xFFFF:
        raise ValueError(f"server_ports: {text!r} is neither a port nor a range such as 590-1400")
    return ports


def networks(
    servers: Sequence[str], lists: Mapping[str, Sequence[str]]
) -> Iterator[IPv4Network | IPv6Network]:
    """Yield the networks that CIDR texts and names of address lists stand for.

    Raises:
        ValueError: A text is neither a network nor the name of a list.
    """
    for text in servers:
        for network in lists.get(text, (text,)):
            try:
                yield ip_network(network)
            except ValueError:
                known = ", ".join(sorted(lists))
                raise ValueError(
                    f"servers: {text!r} is neither an IP network nor one of the lists {known}"
                    f"{did_you_mean(text, lists)}"
                ) from None


def pattern(texts: Sequence[str]) -> re.Pattern[str]:
    """Compile patterns, in which `*` stands for any text, into one regular expression."""
    parts = (".*".join(re.escape(part) for part in text.split("*")) for text in texts)
    return re.compile("|".join(f"(?:{part})" for part in parts), re.IGNORECASE | re.DOTALL)
