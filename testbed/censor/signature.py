"""Recognise flows by bytes that a profile names: a payload's size, and what it has at a place.

A detector is code and knows a protocol. A signature is data, for what reports say of single
packets: "148 bytes that begin with 01 00 00 00".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from testbed.censor.facts import Fact, Kind, of_packets
from testbed.censor.packet import Packet

_SIZES = re.compile(r"([0-9]+)(?:-([0-9]+))?")
_MOST_BYTES = 65_535


@dataclass(frozen=True)
class Signature:
    """What one payload of a flow looks like."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - read by pydantic

    sizes: tuple[str, ...] = ()
    """Sizes of the payload in bytes, or ranges, such as `"148"` or `"92-200"`; one of them holds.
    None: any size."""
    hex: str = ""
    """Bytes of the payload, as hexadecimal digits; `..` stands for any byte."""
    at: int = 0
    """The offset of the first of these bytes in the payload."""

    def __post_init__(self) -> None:
        if not self.sizes and not self.hex:
            raise ValueError("sizes, hex: one of them is needed")
        for text in self.sizes:
            size_range(text)
        if not re.fullmatch(r"(?:[0-9a-f]{2}|\.\.)*", self.hex):
            raise ValueError(f"hex: {self.hex!r} is not an even number of digits 0-9, a-f, or '..'")
        if not 0 <= self.at <= _MOST_BYTES:
            raise ValueError(f"at: must be between 0 and {_MOST_BYTES}")

    @property
    def fact(self) -> str:
        """Return the name of the fact that a flow has shown it."""
        sizes = f" of {', '.join(self.sizes)} bytes" if self.sizes else ""
        digits = f" with {self.hex} at {self.at}" if self.hex else ""
        return f"payload{sizes}{digits}"

    def fits(self, payload: bytes) -> bool:
        """Return whether a payload looks like it."""
        has_size = not self.sizes or any(len(payload) in size_range(text) for text in self.sizes)
        return has_size and all(payload[place : place + 1] == value for place, value in self.wanted)

    @property
    def wanted(self) -> Sequence[tuple[int, bytes]]:
        """Return the offsets of the bytes that are given, each with its value."""
        pairs = [self.hex[n : n + 2] for n in range(0, len(self.hex), 2)]
        return [(self.at + n, bytes.fromhex(pair)) for n, pair in enumerate(pairs) if pair != ".."]


def size_range(text: str) -> range:
    """Return the sizes of a text such as `"148"` or `"92-200"`.

    Raises:
        ValueError: The text is neither a size nor a range of sizes.
    """
    found = _SIZES.fullmatch(text)
    sizes = range(int(found[1]), int(found[2] or found[1]) + 1) if found else range(0)
    if not sizes or sizes[-1] > _MOST_BYTES:
        raise ValueError(f"sizes: {text!r} is neither a size in bytes nor a range such as 92-200")
    return sizes


class _Looking:
    """States a signature's fact at the first payload that looks like it."""

    def __init__(self, signature: Signature) -> None:
        self._signature = signature

    def feed(self, packet: Packet, now: float) -> Sequence[Fact] | None:
        """Inspect one payload."""
        return (Fact(self._signature.fact),) if self._signature.fits(packet.payload) else None


def kind_of(signature: Signature, protocol: Literal["udp", "tcp"], packets: int) -> Kind:
    """Return the kind of detector that looks for a signature in a flow's first packets."""
    return of_packets(protocol, (signature.fact,), partial(_Looking, signature), packets)
