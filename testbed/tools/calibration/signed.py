"""Make payloads with a signature, and payloads that just miss it.

This reads a signature independently of the censor's detector.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from testbed.censor.opening import Opening, Step
from testbed.censor.signature import Signature
from testbed.tools.calibration.openings import filler


def is_signed(payload: bytes, signature: Signature) -> bool:
    """Return whether a payload has a signature."""
    pairs = [signature.hex[n : n + 2] for n in range(0, len(signature.hex), 2)]
    parts = (b"." if pair == ".." else re.escape(bytes.fromhex(pair)) for pair in pairs)
    found = re.compile(b"".join(parts), re.DOTALL).match(payload, signature.at)
    return found is not None and (
        not signature.sizes or any(low <= len(payload) <= high for low, high in _sizes(signature))
    )


def signed(signature: Signature, protocol: str) -> Opening:
    """Return an opening whose first payload has a signature."""
    low, _ = _sizes(signature)[0] if signature.sizes else (_least(signature), 0)
    step = Step(_payload(signature, low), frozenset({signature.fact}))
    return Opening(signature.fact, protocol, (step,))


def spoilt(signature: Signature, protocol: str) -> Iterator[Opening]:
    """Yield openings that have the signature in all but one respect: a size, or a byte."""
    [step] = signed(signature, protocol).steps
    for size in {size for low, high in _sizes(signature) for size in (low - 1, high + 1)}:
        if size >= _least(signature) and not any(a <= size <= b for a, b in _sizes(signature)):
            payload = _payload(signature, size)
            yield Opening(f"{signature.fact}, but {size} bytes", protocol, (Step(payload),))
    for place in range(0, len(signature.hex), 2):
        if signature.hex[place] != ".":
            at = signature.at + place // 2
            other = bytearray(step.payload)
            other[at] ^= 1
            name = f"{signature.fact}, but byte {at}"
            yield Opening(name, protocol, (Step(bytes(other)),))
            return


def _sizes(signature: Signature) -> list[tuple[int, int]]:
    """Return the least and the greatest size of each range."""
    ends = [text.partition("-") for text in signature.sizes]
    return [(int(low), int(high or low)) for low, _, high in ends]


def _least(signature: Signature) -> int:
    """Return the least size of a payload that has room for a signature's bytes."""
    return signature.at + len(signature.hex) // 2 or 1


def _payload(signature: Signature, size: int) -> bytes:
    payload = bytearray(filler(size))
    for place in range(0, len(signature.hex), 2):
        if (pair := signature.hex[place : place + 2]) != "..":
            payload[signature.at + place // 2] = int(pair, 16)
    return bytes(payload)
