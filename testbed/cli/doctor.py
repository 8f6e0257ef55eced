"""The command `doctor`."""

from __future__ import annotations

import shutil

import typer
from rich.table import Table

from testbed.audio.opus import SPEECH_FOLDER
from testbed.cli.console import out
from testbed.cli.registry import Command, Panel
from testbed.cli.requirements import (
    missing_for_engines,
    missing_for_transports,
)
from testbed.experiment import scenario
from testbed.experiment.scenario import cells
from testbed.guest.kernel.builder import KernelBuildError, cached_kernel
from testbed.run.provenance import programs


def doctor() -> None:
    """Check that all programs that the testbed needs are installed, and say how to install them.

    Example: testbed doctor
    """
    table = Table(box=None, pad_edge=False, show_header=False)
    healthy = True
    for name, is_there, remedy in _checks():
        healthy &= is_there
        state = "[green]ok[/]" if is_there else "[red]missing[/]"
        table.add_row(state, name, "" if is_there else remedy)
    optional = {
        **{f"engine {name}": remedy for name, remedy in missing_for_engines().items()},
        **{f"transport {name}": remedy for name, remedy in missing_for_transports().items()},
    }
    for name, remedy in optional.items():
        table.add_row("[yellow]optional[/]", name, remedy)
    out.print(table)
    if not healthy:
        raise typer.Exit(1)


def _checks() -> list[tuple[str, bool, str]]:
    needed = programs(cells(scenario.load_scenario(scenario.DEMO)))
    checks = [(f"program {p.name}", p.find() is not None, p.remedy) for p in needed]
    checks += [
        (f"program {name}", shutil.which(name) is not None, "apt install util-linux")
        for name in ("setpriv", "taskset", "unshare")
    ]
    checks.append(("speech", any(SPEECH_FOLDER.glob("*.wav")), "apt install pocketsphinx-testdata"))
    try:
        kernel = cached_kernel()
        remedy = "testbed kernel build"
    except KernelBuildError as error:
        kernel, remedy = None, str(error)
    name = "guest kernel" if kernel is None else f"guest kernel {kernel.version}"
    checks.append((name, kernel is not None, remedy))
    return checks


COMMAND = Command(Panel.LAB, doctor)
