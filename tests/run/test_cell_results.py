"""What a worker sends for a cell: read back as it was, and refused when it is anything else."""

from __future__ import annotations

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.record.results import Wall
from testbed.run.cell_results import CellResult, is_sendable, packed, unpacked

NAMES = st.lists(st.from_regex(r"[A-Za-z0-9_=][A-Za-z0-9._=-]{0,5}", fullmatch=True), min_size=1)
PATHS = NAMES.filter(lambda parts: len(parts) <= 6).map("/".join)
WALLS = st.builds(
    Wall,
    wall_s=st.floats(0.001, 1e6),
    virtual_s=st.floats(0, 1e6),
    cpu_s=st.none() | st.floats(0, 1e6),
    counts=st.none() | st.dictionaries(st.text(max_size=5), st.integers(0, 2**40), max_size=3),
)
RESULTS = st.builds(
    CellResult,
    wall=st.none() | WALLS,
    failure=st.text(),
    unfit=st.text(),
    files=st.dictionaries(PATHS, st.binary(max_size=20), max_size=5),
)


@given(RESULTS)
def test_a_result_is_read_back_as_it_was(result: CellResult) -> None:
    assert unpacked(packed(result)) == result


@given(st.binary())
def test_any_bytes_are_read_or_refused_with_a_reason(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        unpacked(content)


@given(RESULTS, st.data())
def test_a_result_that_was_cut_or_lengthened_is_refused(
    result: CellResult, data: st.DataObject
) -> None:
    content = packed(result)
    cut = data.draw(st.integers(0, len(content) - 1))
    for changed in (content[:cut], content + b"x"):
        with pytest.raises(ValueError, match=r"\w"):
            unpacked(changed)


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "/etc/passwd",
        "a/../../x",
        "",
        ".",
        "a//b",
        "a/",
        "./a",
        ".bashrc",
        "a\nb",
        "a b",
        "ü",
    ],
)
def test_no_file_leaves_its_folder(name: str) -> None:
    assert not is_sendable(name)
    header = {"format": 1, "wall": None, "failure": "", "unfit": "", "files": [[name, 1]]}
    with pytest.raises(ValueError, match="file that cannot be"):
        unpacked(json.dumps(header).encode() + b"\nx")
    assert unpacked(packed(CellResult(None, "", "", {name: b"x", "a": b"y"}))).files == {"a": b"y"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"files": [["a", -1]]}, "cannot be"),
        ({"files": [["a", 1], ["a", 1]]}, "cannot be"),
        ({"files": [["a", 10**15]]}, "its files say"),
        ({"files": [["a", "1"]] * 20_000}, "too much"),
        ({"files": "a"}, "files"),
        ({"format": 2}, "format"),
        ({"failure": None}, "failure"),
        ({"wall": {"wall_s": 0, "virtual_s": 1}}, "times cannot be"),
        ({"wall": {"wall_s": -1, "virtual_s": 1}}, "times cannot be"),
        ({"wall": {"wall_s": 1, "virtual_s": "NaN"}}, "wall|times"),
        ({"wall": []}, "wall"),
    ],
)
def test_what_is_no_result_is_named(change: dict[str, object], reason: str) -> None:
    header = {"format": 1, "wall": None, "failure": "", "unfit": "", "files": []} | change
    with pytest.raises(ValueError, match=reason):
        unpacked(json.dumps(header).encode() + b"\n")


@pytest.mark.parametrize("content", [None, "text", 5, [b"x"], pickle.dumps({"a": 1})])
def test_only_bytes_are_a_result(content: object) -> None:
    with pytest.raises(ValueError, match=r"not bytes|first line|UTF|value"):
        unpacked(content)
