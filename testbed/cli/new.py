"""The command `new`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from testbed.cli.console import out
from testbed.cli.registry import Command, Panel
from testbed.experiment.explanations import ScenarioError
from testbed.experiment.loading import IN_TREE
from testbed.experiment.scenario import IS_CHECKOUT, ROOT

new_app = typer.Typer(no_args_is_help=True, help="Write a new transport that you can change.")


_TEST = '''"""{name} keeps the rules of transports."""

from pathlib import Path

import pytest

from testbed.guest.kernel.builder import Kernel
from tests.transports.conftest import assert_conforms


@pytest.mark.guest
def test_{name}_keeps_the_rules_of_transports(kernel: Kernel, tmp_path: Path) -> None:
    assert_conforms("{name}", kernel, tmp_path)
'''


@new_app.callback()
def _new() -> None: ...


@new_app.command("transport")
def new_transport(
    name: Annotated[
        str, typer.Argument(help="The transport's name: lower-case letters, digits and _.")
    ],
) -> None:
    """Write a working transport and its test, for you to change.

    Without a checkout of the project, write only the transport, into the working directory.

    Example: testbed new transport mytunnel
    """
    for path in write_transport(name, ROOT if IS_CHECKOUT else None):
        out.print(f"Wrote {path}")
    out.print(f"Now: testbed check transport {name if IS_CHECKOUT else f'./{name}.py'}")


def write_transport(name: str, checkout: Path | None) -> list[Path]:
    """Write a new transport and its test into a checkout, or else only `NAME.py` here.

    Raises:
        ScenarioError: The transport exists already, or its name is not allowed.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ScenarioError(f"{name!r}: a transport's name is lower-case letters, digits and _")
    transport = (IN_TREE / "_new.py").read_text()
    files = {Path(f"{name}.py"): transport}
    if checkout is not None:
        files = {
            checkout / "transports" / f"{name}.py": transport,
            checkout / "tests" / "transports" / f"test_{name}.py": _TEST.format(name=name),
        }
    for path in files:
        if path.exists():
            raise ScenarioError(f"{path} exists already")
    for path, text in files.items():
        path.write_text(text)
    return list(files)


COMMAND = Command(Panel.TRANSPORT, new_app, place=0)
