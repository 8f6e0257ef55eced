"""Run the command line in this process, and check that it refuses wrong input as it should."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from unittest import mock

import pytest

from testbed.cli import app

tried: Counter[str] = Counter()
"""By kind of input: how many wrong ones were given to the command line."""


@dataclass(frozen=True)
class Answer:
    """What a command printed, and the status with which it ended."""

    status: int
    out: str
    err: str


def testbed(*words: str) -> Answer:
    """Run a command; whatever is no known error is raised here, as it would be a traceback."""
    out, err = StringIO(), StringIO()
    with (
        redirect_stdout(out),
        redirect_stderr(err),
        mock.patch.object(sys, "argv", ["testbed", *words]),
        pytest.raises(SystemExit) as ended,
    ):
        app.main()
    return Answer(int(ended.value.code or 0), out.getvalue(), err.getvalue())


testbed.__test__ = False  # type: ignore[attr-defined] # pytest would take it for a test


def refused(kind: str, *words: str) -> str:
    """Return the sentence with which a command refuses wrong input; fail if it does not."""
    tried[kind] += 1
    return sentence_of(testbed(*words))


def sentence_of(answer: Answer) -> str:
    """Return the sentence of a refusal; fail if the answer is another."""
    assert answer.status == 2, answer
    assert answer.out == "", answer
    sentence, newline, rest = answer.err.partition("\n")
    assert (newline, rest) == ("\n", ""), answer
    assert sentence.startswith("error: "), answer
    assert sentence.isprintable(), answer
    assert "Traceback" not in sentence
    return sentence
