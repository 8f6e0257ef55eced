"""Signatures: flows are known by the size of a payload and by bytes at a place in it."""

from __future__ import annotations

import re
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.censor.actions.drop import Drop
from testbed.censor.censor import Censor
from testbed.censor.match import Match
from testbed.censor.signature import Signature
from tests.censor.packets import profile, rule, udp

INITIATION = Signature(sizes=("148",), hex="01000000")


def dropped(signature: Signature, *payloads: bytes) -> list[bool]:
    """Return which of a flow's payloads are dropped."""
    match = Match(protocol="udp", payload=signature)
    censor = Censor(profile(rule("r", match, Drop())), Random(0))
    return [not censor.on_packet(udp(payload), k / 10) for k, payload in enumerate(payloads)]


def test_a_flow_is_known_from_the_payload_with_the_signature_on() -> None:
    initiation = b"\1\0\0\0" + bytes(144)
    assert dropped(INITIATION, b"junk", initiation, b"data") == [False, True, True]
    assert dropped(INITIATION, initiation + b"x", initiation[:-1]) == [False, False]
    assert dropped(INITIATION, b"\2" + initiation[1:]) == [False]


def test_only_the_first_packets_are_looked_at() -> None:
    assert not any(dropped(INITIATION, *[b"junk"] * 4, b"\1\0\0\0" + bytes(144)))


@given(st.binary(max_size=60), st.integers(0, 70), st.binary(max_size=4))
def test_bytes_at_an_offset_are_compared_and_dots_stand_for_any(
    payload: bytes, at: int, wanted: bytes
) -> None:
    digits = wanted.hex() + ".."
    [hit] = dropped(Signature(hex=digits, at=at), payload or b"x")
    assert hit is ((payload or b"x")[at : at + len(wanted)] == wanted)


@given(st.integers(1, 300), st.integers(0, 200), st.integers(0, 200))
def test_sizes_are_ranges_with_both_ends(size: int, low: int, more: int) -> None:
    [hit] = dropped(Signature(sizes=(f"{low}-{low + more}", "299")), bytes(size))
    assert hit is (low <= size <= low + more or size == 299)


@given(st.text(max_size=8), st.text(alphabet="0123456789abcdef.", max_size=8))
def test_any_text_is_a_signature_or_refused_with_a_reason(sizes: str, digits: str) -> None:
    is_range = re.fullmatch(r"([0-9]+)(-[0-9]+)?", sizes, re.ASCII)
    ends = [int(end) for end in sizes.split("-")] if is_range else []
    has_digits = re.fullmatch(r"([0-9a-f]{2}|\.\.)*", digits)
    if has_digits and ends and ends[0] <= ends[-1] <= 65_535:
        assert dropped(Signature(sizes=(sizes,), hex=digits), b"x") in ([True], [False])
    else:
        with pytest.raises(ValueError, match=r"sizes|hex"):
            Signature(sizes=(sizes,), hex=digits)


def test_a_signature_needs_a_protocol_and_something_to_compare() -> None:
    with pytest.raises(ValueError, match="needs protocol"):
        Match(payload=INITIATION)
    with pytest.raises(ValueError, match="one of them is needed"):
        Signature()
