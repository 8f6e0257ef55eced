"""Names of transports: what is read is what was written, whatever stands in it."""

from __future__ import annotations

import re
import string
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.experiment.names import Name, as_file_name, parse_name

TEXTS = st.text() | st.text("{}[]=,'\" \\through12.", max_size=12)
VALUES = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
KEYS = st.text(string.ascii_lowercase + "_", min_size=1)
PLACES = TEXTS | st.sampled_from(["direct", "./my folder/mine.py", "a through b", "ss://a@b:1#c"])
NAMES = st.recursive(
    st.builds(Name, PLACES, st.dictionaries(KEYS, VALUES, max_size=3)),
    lambda inner: st.builds(
        Name,
        PLACES,
        st.dictionaries(KEYS, VALUES | inner.map(str), max_size=3),
        inner,
    ),
    max_leaves=3,
)


@given(NAMES)
def test_a_name_that_was_written_is_read_as_the_same_name(name: Name) -> None:
    assert parse_name(str(name)) == name


@given(TEXTS)
def test_any_text_is_a_name_or_is_refused(text: str) -> None:
    with suppress(ValueError):
        name = parse_name(text)
        assert parse_name(str(name)) == name


@given(TEXTS)
def test_any_name_is_a_part_of_a_valid_file_name(text: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9.-]{0,72}", as_file_name(text))


def test_long_names_that_begin_alike_are_different_file_names() -> None:
    one, other = (as_file_name(f"pt {{server = /{'x' * 80}/{end}}}") for end in "ab")
    assert one != other
    assert as_file_name("hysteria2 {salamander = true} through turn") == (
        "hysteria2-salamander-true-through-turn"
    )


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("direct", Name("direct")),
        (" ./my folder/mine.py ", Name("./my folder/mine.py")),
        ("tuic{relay=quic}", Name("tuic", {"relay": "quic"})),
        ("fec {inner = a {b = 1, c = [1, 2]}}", Name("fec", {"inner": "a {b = 1, c = [1, 2]}"})),
        ("a through b {c = true}", Name("a", through=Name("b", {"c": True}))),
        ("a {b = 1} through c through d", Name("a", {"b": 1}, Name("c", through=Name("d")))),
        ("'a through {b}' {c = 'x, y'}", Name("a through {b}", {"c": "x, y"})),
        ("a {b = it's, c = 2}", Name("a", {"b": "it's", "c": 2})),
    ],
)
def test_people_may_write_names_in_several_ways(text: str, name: Name) -> None:
    assert parse_name(text) == name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a {b = 1", "the closing brace is missing at the end"),
        ("a {b = 1} c", "the closing brace is missing .* or the word `through` before 'c'"),
        ("a {b = [1}}", "opening and closing braces do not match"),
        ("a {b = 1} through", "after `through` there is no name"),
        ("a {b}", "'b' is not of the form key = value"),
        ("a {b = 1, b = 2}", "b is there twice"),
        ("a {}", "the braces are empty"),
        ("'a", "the closing quote is missing"),
    ],
)
def test_a_wrong_name_says_what_is_wrong_with_it(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_name(text)
