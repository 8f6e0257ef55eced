"""The command `new`: write the beginning of a part of your own, which works as it is.

Each kind of part has a template named `_new` in its folder, which is a valid part itself and which
lists leave out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from testbed.cli.console import out, short
from testbed.cli.registry import Command, Panel
from testbed.experiment import scenario
from testbed.experiment.choosing import transport_names
from testbed.experiment.explanations import ScenarioError
from testbed.experiment.loading import IN_TREE
from testbed.experiment.scenario import (
    IS_CHECKOUT,
    ROOT,
    censor_names,
    messenger_names,
    scenario_names,
)

new_app = typer.Typer(
    no_args_is_help=True, help="Write a transport, scenario, censor or messenger of your own."
)

_TEST = '''"""{name} keeps the rules of transports."""

from pathlib import Path

import pytest

from testbed.guest.kernel.builder import Kernel
from tests.transports.conftest import assert_conforms


@pytest.mark.guest
def test_{name}_keeps_the_rules_of_transports(kernel: Kernel, tmp_path: Path) -> None:
    assert_conforms("{name}", kernel, tmp_path)
'''
_REVIEWED = re.compile(r'^reviewed = "[0-9-]*"', re.MULTILINE)
Name = Annotated[str, typer.Argument(help="Its name: lower-case letters, digits, - and _.")]


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
    written = write_transport(name, ROOT if IS_CHECKOUT else None)
    _say(written, f"testbed check transport {name if IS_CHECKOUT else f'./{name}.py'}")


@new_app.command("scenario")
def new_scenario(
    name: Annotated[str, typer.Argument(metavar="NAME|PATH", help="A name, or ./mine.toml.")],
) -> None:
    """Write a scenario that runs, to be made into your own.

    Example: testbed new scenario ./mine.toml
    """
    if name.endswith(".toml"):
        path = Path(name)
        _check_name("scenario", path.stem, r"[a-z0-9_-]*", [])
    else:
        _check_name("scenario", name, r"[a-z0-9_-]*", scenario_names())
        path = scenario.SCENARIOS / f"{name}.toml"
    _write({path: _template(scenario.SCENARIOS)})
    _say([path], f"testbed run {name} --dry-run")


@new_app.command("censor")
def new_censor(name: Name) -> None:
    """Write a censor profile that can be calibrated, to be made into your own.

    Only restrictions that were observed are accepted by the project: see ETHICS.md.

    Example: testbed new censor mycountry-2026
    """
    _check_name("censor", name, r"[a-z0-9_-]*", censor_names())
    path = scenario.CENSORS / f"{name}.toml"
    _write({path: _template(scenario.CENSORS)})
    _say([path], f"testbed calibrate {name}")


@new_app.command("messenger")
def new_messenger(name: Name) -> None:
    """Write a messenger that makes calls, to be made into your own.

    Example: testbed new messenger mymessenger
    """
    _check_name("messenger", name, r"[a-z0-9_-]*", messenger_names())
    path = scenario.MESSENGERS / f"{name}.toml"
    _write({path: _template(scenario.MESSENGERS)})
    _say([path], f"testbed run quick --messenger {name} --seed 1")


def write_transport(name: str, checkout: Path | None) -> list[Path]:
    """Write a new transport and its test into a checkout, or else only `NAME.py` here.

    Raises:
        ScenarioError: The transport exists already, or its name is not allowed.
    """
    _check_name("transport", name, r"[a-z0-9_]*", transport_names())
    transport = (IN_TREE / "_new.py").read_text()
    files = {Path(f"{name}.py"): transport}
    if checkout is not None:
        files = {
            checkout / "transports" / f"{name}.py": transport,
            checkout / "tests" / "transports" / f"test_{name}.py": _TEST.format(name=name),
        }
    _write(files)
    return list(files)


def _template(folder: Path) -> str:
    """Return the template of a kind of file, as reviewed today."""
    today = datetime.now(UTC).date().isoformat()
    return _REVIEWED.sub(f'reviewed = "{today}"', (folder / "_new.toml").read_text())


def _check_name(kind: str, name: str, rest: str, known: list[str]) -> None:
    if not re.fullmatch(f"[a-z]{rest}", name):
        allowed = "lower-case letters, digits" + (", - and _" if "-]" in rest else " and _")
        raise ScenarioError(f"{name!r}: a {kind}'s name is {allowed}, such as my{kind}1")
    if name in known:
        raise ScenarioError(f"there is a {kind} {name} already: give another name")


def _write(files: Mapping[Path, str]) -> None:
    for path in files:
        if path.exists():
            raise ScenarioError(f"{path} is there already: give another name")
        if not path.parent.is_dir():
            raise ScenarioError(f"{path}: there is no folder {path.parent}")
    for path, text in files.items():
        path.write_text(text)


def _say(paths: list[Path], then: str) -> None:
    for path in paths:
        out.print(f"Wrote {short(path)}", soft_wrap=True, markup=False)
    out.print(f"Now: {then}", soft_wrap=True, markup=False)


COMMAND = Command(Panel.TRANSPORT, new_app, place=0)
