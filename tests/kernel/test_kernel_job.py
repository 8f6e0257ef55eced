"""The protocol between runner and guest, seen from the runner."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.guest.kernel.job import Counts, JobEnd, encode_job, read_end

words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
names = words.filter(lambda name: name != "" and "=" not in name)


def decode(raw: bytes) -> tuple[int, list[list[str]]]:
    """Read a job file as init.c does: version, limit, then lists, each led by its length."""
    strings = iter(raw.decode("utf-8", "surrogateescape").removesuffix("\0").split("\0"))
    assert next(strings) == "job 2"
    limit_ns = int(next(strings))
    lists = [[next(strings) for _ in range(int(next(strings)))] for _ in range(3)]
    assert list(strings) == []
    return limit_ns, lists


@given(
    argv=st.lists(words, max_size=8).map(lambda rest: ["program", *rest]),
    env=st.dictionaries(names, words, max_size=8),
    shown=st.dictionaries(
        st.sampled_from([Path("/run/a"), Path("/tmp/a b")]), st.just(Path("/srv/a b"))
    ),
    limit_ns=st.integers(0, 10**15),
)
def test_what_goes_in_comes_out(
    argv: list[str], env: dict[str, str], shown: dict[Path, Path], limit_ns: int
) -> None:
    raw = encode_job(argv, env, shown, limit_ns=limit_ns)
    assert raw.endswith(b"\0")
    lists = [
        argv,
        [f"{name}={env[name]}" for name in sorted(env)],
        [str(path) for pair in shown.items() for path in pair],
    ]
    assert decode(raw) == (limit_ns, lists)


def test_a_negative_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="no time"):
        encode_job(["x"], {}, limit_ns=-1)


def test_equal_environments_make_equal_files() -> None:
    assert encode_job(["x"], {"A": "1", "B": "2"}) == encode_job(["x"], {"B": "2", "A": "1"})


def test_names_that_are_not_utf8_pass_through() -> None:
    assert b"\xff\0" in encode_job(["cat", "\udcff"], {})


@pytest.mark.parametrize(
    ("argv", "env"),
    [
        ([], {}),
        ([""], {}),
        (["a\0b"], {}),
        (["a"], {"": "x"}),
        (["a"], {"A=B": "x"}),
        (["a"], {"A": "\0"}),
    ],
)
def test_what_no_program_can_be_given_is_refused(argv: list[str], env: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"argv|NUL|variable"):
        encode_job(argv, env)


def test_the_end_of_a_job_is_read() -> None:
    assert read_end("exit 3 60001000448 700 60 5 4096\n") == JobEnd(
        3, 60001000448, Counts(syscalls=700, faults=60, execs=5, memory_bytes=4096)
    )
    assert read_end("failed mount tmpfs at /tmp: No such device\n") == (
        "mount tmpfs at /tmp: No such device"
    )


@given(st.integers(0, 255), st.integers(0, 10**15), st.data())
def test_an_end_cut_short_is_no_end(status: int, ns: int, data: st.DataObject) -> None:
    whole = f"exit {status} {ns} 1000 200 30 40960000\n"
    with pytest.raises(ValueError, match=r"not a report"):
        read_end(whole[: data.draw(st.integers(0, len(whole) - 1))])
