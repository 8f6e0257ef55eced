"""The command `check isolation`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import trio
import typer
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from testbed.cli.console import err, out, print_json
from testbed.cli.kernel import guest_kernel
from testbed.experiment.explanations import ScenarioError
from testbed.guest.kernel.cache import Kernel
from testbed.tools.isolation import attack_suite
from testbed.tools.isolation.another_user import Unfit, as_another_user, named_user
from testbed.tools.isolation.attack_suite import Outcome
from testbed.tools.isolation.attacks import ATTACKS

_PLACES = {"guest": "root in a guest", "process": "instead of a guest's kernel"}


def check_isolation(
    name: Annotated[list[str] | None, typer.Option(help="Only this attack (repeatable).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcomes as JSON.")] = False,
    kernel_folder: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Attack the host from guests, and show which layer of their confinement holds each attack.

    Each attack is tried as root in a guest, and by a program that stands in for a guest's host
    process, as if it had broken out. It counts if it succeeds when nothing confines the guest. It
    touches only files and processes that were made for it. Started by root, all is tried as an
    ordinary user, too. Status 1: an attack got through. (minutes)

    Examples: testbed check isolation; testbed check isolation --name overwrite
    """
    names = name or list(ATTACKS)
    if unknown := sorted(set(names) - set(ATTACKS)):
        raise ScenarioError(f"there is no attack {unknown[0]}; there are {', '.join(ATTACKS)}")
    kernel = guest_kernel() if kernel_folder is None else _kernel_in(kernel_folder)
    if as_json:
        tries = _outcomes(kernel, names)
        print_json(tries)
        _end({named_user(): tries})
        return
    found = _by_user(kernel, names)
    for user, outcomes in found.items():
        out.print(_table(f"Guests of {user}", outcomes))
    _summarise(kernel, found)
    _end(found)


def _by_user(kernel: Kernel, names: Sequence[str]) -> Mapping[str, Sequence[Outcome]]:
    """Try attacks as this user, and as an ordinary user if this is root."""
    found: dict[str, Sequence[Outcome]] = {}
    with attack_suite.public_kernel(kernel) as public:
        found[named_user()] = _outcomes(public, names)
        if os.geteuid() == 0:
            try:
                with err.status("tries all as an ordinary user"):
                    found["an ordinary user"] = as_another_user(public, names)
            except Unfit as error:
                err.print(f"Not tried as an ordinary user: {error}", markup=False)
    return found


def _kernel_in(folder: Path) -> Kernel:
    return Kernel(folder / "linux", folder / "init", "", "")


def _outcomes(kernel: Kernel, names: Sequence[str]) -> list[Outcome]:
    cpus = sorted(os.sched_getaffinity(0))
    with Progress(console=err, transient=True, redirect_stdout=False) as bar:
        task = bar.add_task("attacks", total=sum(len(ATTACKS[each].places) for each in names))
        return trio.run(attack_suite.attack_all, kernel, names, cpus, partial(bar.advance, task))


def _table(title: str, outcomes: Sequence[Outcome]) -> Table:
    table = Table(box=None, pad_edge=False, title=title, title_justify="left")
    for heading in ("result", "attack", "from", "held by"):
        table.add_column(heading, overflow="fold")
    for each in outcomes:
        table.add_row(_state(each), escape(each.what), _PLACES[each.place], _layers(each))
    return table


def _state(outcome: Outcome) -> str:
    if not outcome.is_possible:
        return "[dim]impossible[/]"
    return "[green]held[/]" if outcome.ok else "[red]got through[/]"


def _layers(outcome: Outcome) -> str:
    if not outcome.is_possible:
        return "[dim]fails without any layer[/]"
    if outcome.through:
        return f"[red]not held by: {', '.join(outcome.through)}[/]"
    return ", ".join(outcome.held_by) or "several layers together"


def _summarise(kernel: Kernel, found: Mapping[str, Sequence[Outcome]]) -> None:
    """Print how many attacks were held, and by what guests are confined."""
    for user, outcomes in found.items():
        counts = attack_suite.summary(outcomes)
        out.print(
            f"Guests of {user}: {counts['tried']} attacks succeed when nothing confines the guest; "
            f"held in {counts['held']} tries, got through in {counts['got through']}; "
            f"{counts['not possible']} tries were impossible from their place."
        )
    layers = ", ".join(attack_suite.confinements(kernel))
    out.print(
        f"Confinements: {layers}. A layer is named if it holds the attack alone; `rights`: no "
        "capabilities, no new privileges; `runner`: how the runner treats what a guest leaves.",
        style="dim",
    )


def _end(found: Mapping[str, Sequence[Outcome]]) -> None:
    """Exit with status 1 if an attack got through."""
    if not all(each.ok for outcomes in found.values() for each in outcomes):
        raise typer.Exit(1)
