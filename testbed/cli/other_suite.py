"""The command `check suite`."""

from __future__ import annotations

import os
import subprocess
from typing import Annotated

import typer

from testbed.cli.console import err, out
from testbed.experiment.explanations import ScenarioError, there_are
from testbed.experiment.scenario import checkout
from testbed.guest.image.lock import ImageError
from testbed.tools.suite_tree import PYTHONS, other_suite, python_in, suite_folder

_TESTS = (
    *("tests/censor/test_rules.py", "tests/guest/test_guestcode.py", "tests/record"),
    *("tests/run/test_certificate.py", "tests/test_golden.py", "tests/transport"),
)
"""What depends on a host's Python, C library and programs, and takes less than a minute."""


def check_suite(
    name: Annotated[
        str | None, typer.Argument(metavar="SUITE", help="bookworm or trixie (Debian 12 or 13).")
    ] = None,
) -> None:
    """Run quick tests with the Python and the programs of another Debian suite (a minute).

    By default it is the suite that this machine does not have. Its tree is made once (3 minutes),
    without root. Where that is not possible it is said, and status 1 only if CI is set.

    Example: testbed check suite bookworm
    """
    checkout("the tests of another suite")
    suite = name or other_suite()
    if suite not in PYTHONS:
        raise ScenarioError(f"there is no suite {suite}; {there_are(suite, PYTHONS)}")
    try:
        with err.status(f"makes a tree of {suite}") as status:
            command = python_in(
                suite_folder(suite, status.update),
                ["-m", "pytest", "-p", "no:cacheprovider", "-n", "auto", *_TESTS],
            )
    except ImageError as error:
        out.print(f"The quick tests were not run in {suite}: {error}", markup=False)
        raise typer.Exit(1 if os.environ.get("CI") else 0) from None
    out.print(f"Quick tests with Python {PYTHONS[suite]} and the programs of {suite}:")
    done = subprocess.run(command, check=False)
    if done.returncode:
        raise typer.Exit(1)
