"""Which flows and directions a rule is for, as data; what is done to them lives elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Literal

from testbed.censor.actions import By
from testbed.censor.detectors import LABELS, VALUES, Label

_FORBID_UNKNOWN_KEYS = {"extra": "forbid"}


@dataclass(frozen=True)
class Match:
    """Which packets a rule is for: all conditions that are given must hold; none given: all.

    The *server* of a flow is the destination of its first packet, the *client* its source.
    """

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    protocol: Literal["udp", "tcp", "icmp"] | None = None
    label: Label | None = None
    """A fact that a detector has stated about the flow."""
    sni: tuple[str, ...] = ()
    """One of these is the server name of a TLS, DTLS or QUIC ClientHello; `*` stands for any text,
    so `"*.twitter.com"` is a suffix and `"*t.co*"` a substring. Case does not count."""
    host: tuple[str, ...] = ()
    """One of these is HTTP's Host, or the name that DNS is asked for; `*` as in `sni`."""
    alpn: tuple[str, ...] = ()
    """One of these is an application protocol that a ClientHello offers; `*` as in `sni`."""
    fingerprint: tuple[str, ...] = ()
    """One of these is the JA4 of a ClientHello; `*` as in `sni`."""
    server_ports: tuple[str, ...] = ()
    """Ports or ranges, `"3478"` or `"590-1400"`: the server's port is in one of them."""
    servers: tuple[str, ...] = ()
    """IPv4 or IPv6 networks in CIDR form, or names of the address lists that the lab provides."""
    direction: Literal["up", "down"] | None = None
    opened: Literal["inside", "outside"] | None = None
    """Where the flow's first packet came from."""
    client_port: Literal["above server port"] | None = None
    """The client's port is higher than the server's."""
    listed: str | None = None
    """The flow is on this list, by a rule with the action `list`."""
    inspected: bool = False
    """True: no detector looks at the flow any more, and no rule before this one was for it. As a
    last rule that drops it makes an allow-list of the rules before, which still lets the packets
    pass in which a flow shows what it is."""
    share: float | Mapping[int, float] | None = None
    """Of the flows for which all else holds, this share is taken. A table has shares by the hour of
    local time (0 to 23) from which they hold, until the next hour that the table has."""
    share_by: By | Literal["flow"] = "flow"
    """What a share is of, and so what draws once: each flow, or all flows that have this in common;
    `"server-address"` takes a share of the destinations."""

    def __post_init__(self) -> None:
        if self.label is not None and self.label not in LABELS:
            raise ValueError(
                f"label: no detector states {self.label!r}; known: {', '.join(sorted(LABELS))}"
            )
        for text in self.server_ports:
            port_range(text)
        if self.share is None and self.share_by != "flow":
            raise ValueError("share_by: there is no share")
        if isinstance(self.share, Mapping):
            _check_hours(self.share)
        for share in self.shares.values():
            if not 0 <= share <= 1:
                raise ValueError(f"share: {share} is not between 0 and 1")

    @property
    def shares(self) -> Mapping[str, float]:
        """Return the shares by name: `share`, or `share.5` for the one from 5 h on."""
        if isinstance(self.share, Mapping):
            return {f"share.{hour}": share for hour, share in self.share.items()}
        return {} if self.share is None else {"share": self.share}

    def share_at(self, hour: float) -> float:
        """Return the share at an hour of local time (0 to below 24); without one, all flows."""
        if not isinstance(self.share, Mapping):
            return 1.0 if self.share is None else self.share
        begun = [each for each in self.share if each <= hour]
        return self.share[max(begun or self.share)]  # before the first, the last of yesterday

    @property
    def values(self) -> Mapping[str, Sequence[str]]:
        """Return the patterns by the name of the fact whose value they are for."""
        return {name: patterns for name in VALUES if (patterns := getattr(self, name))}

    @property
    def facts(self) -> frozenset[str]:
        """Name the facts that decide whether it holds."""
        return frozenset(self.values) | ({self.label} if self.label is not None else frozenset())


def _check_hours(shares: Mapping[int, float]) -> None:
    if not shares:
        raise ValueError("share: the table has no hour")
    if not set(shares) <= {*range(24)}:
        raise ValueError(f"share: {sorted(shares)} are not all hours from 0 to 23")


def port_range(text: str) -> range:
    """Read `"3478"` or `"590-1400"`.

    Raises:
        ValueError: Neither.
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
    """Resolve networks and names of lists.

    Raises:
        ValueError: Neither.
    """
    for text in servers:
        for network in lists.get(text, (text,)):
            try:
                yield ip_network(network)
            except ValueError:
                known = ", ".join(sorted(lists))
                raise ValueError(
                    f"servers: {text!r} is neither an IP network nor one of the lists {known}"
                ) from None


def pattern(texts: Sequence[str]) -> re.Pattern[str]:
    """Make one expression of patterns in which `*` stands for any text."""
    parts = (".*".join(re.escape(part) for part in text.split("*")) for text in texts)
    return re.compile("|".join(f"(?:{part})" for part in parts), re.IGNORECASE | re.DOTALL)
