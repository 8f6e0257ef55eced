"""The command `kernel`: build and test the guest kernel (`testbed.guest.kernel`)."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import trio
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from testbed.cli.console import err, out
from testbed.cli.registry import Command, Panel
from testbed.experiment.cell import Cell
from testbed.guest.kernel import selftest
from testbed.guest.kernel.builder import Kernel, build_kernel, cached_kernel
from testbed.guest.kernel.confinement import available_layers
from testbed.run.runner import make_trees

kernel_app = typer.Typer(no_args_is_help=True, help="Build or check the guest kernel.")


UNCONFINED = (
    "root in a guest can read and write what the user who starts it can, because this kernel has "
    "neither Landlock (Linux 5.13) nor user namespaces that this user may make"
)


NOT_IN_GUESTS = (
    "with --kernel host, cells are not confined: transports, engines and their programs run as "
    "root of this machine, in namespaces of their own but without Landlock, limits or a user of "
    "their own. Run only what you would run as root"
)


class KernelKind(StrEnum):
    """The kinds of kernels on which cells run."""

    VIRTUAL = "virtual"
    HOST = "host"


def guest_kernel(*needed: Cell) -> Kernel:
    """Return the guest kernel, built first if necessary: once for all checkouts of this user.

    The parts of the lab image that some cells need are made, too. A warning is printed if nothing
    keeps guests from the user's files.
    """
    built = cached_kernel()
    if built is None:
        err.print(
            "The cache has no guest kernel of this version, or it is damaged. Building it takes "
            "some minutes."
        )
        built = _build_kernel(None)
    with err.status("makes the lab image") as status:
        make_trees(built, needed, lambda what: status.update(f"lab image: {what}"))
    if not available_layers(built.launcher).keep_files_away:
        err.print(f"[yellow]Warning:[/] {UNCONFINED}.")
    return built


@kernel_app.command("build")
def kernel_build(
    source: Annotated[
        Path | None,
        typer.Option(exists=True, help="A kernel source tree or tar file; Debian's if not given."),
    ] = None,
) -> None:
    """Build the virtual-time kernel into the user's cache, if it is not there yet (minutes)."""
    kernel = cached_kernel(source) or _build_kernel(source)
    out.print(f"Guest kernel {kernel.version}: {kernel.path}", markup=False)


def _build_kernel(source: Path | None) -> Kernel:
    columns = (TextColumn("guest kernel: {task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err) as progress:
        task = progress.add_task("", total=1.0)

        def report(stage: str, share: float) -> None:
            progress.update(task, description=stage, completed=share)

        return build_kernel(source, progress=report)


@kernel_app.command("test")
def kernel_test() -> None:
    """Test the built kernel: virtual sleep, exact delays over netem, runs equal to the byte."""
    kernel = guest_kernel()
    table = Table(box=None, pad_edge=False, show_header=False)
    with err.status("booting guests and comparing them"):
        checks = trio.run(selftest.kernel_test, kernel)
    for check in checks:
        state = "[green]ok[/]" if check.ok else "[red]wrong[/]"
        table.add_row(state, check.name, check.detail, f"{check.wall_s:.2f} s")
    out.print(table)
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


COMMAND = Command(Panel.LAB, kernel_app)
