"""The command `doctor`."""

from __future__ import annotations

import shutil
from dataclasses import replace

import typer
from rich.table import Table

from testbed.audio.opus import SPEECH_FOLDER
from testbed.cli.console import out
from testbed.cli.kernel import UNCONFINED
from testbed.cli.registry import Command, Panel
from testbed.cli.requirements import (
    missing_for_engines,
    missing_for_transports,
)
from testbed.experiment import scenario
from testbed.experiment.scenario import cells
from testbed.guest.kernel.builder import KernelBuildError, cached_kernel
from testbed.guest.kernel.confinement import available_layers, why_not
from testbed.guest.kernel.launcher import LauncherError
from testbed.run.provenance import programs


def doctor() -> None:
    """Check that all is there that the testbed needs, and say what to do where it is not.

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
    checks.append(_confinement())
    checks.append(("speech", any(SPEECH_FOLDER.glob("*.wav")), "apt install pocketsphinx-testdata"))
    try:
        kernel = cached_kernel()
        remedy = "testbed kernel build"
    except KernelBuildError as error:
        kernel, remedy = None, str(error)
    name = "guest kernel" if kernel is None else f"guest kernel {kernel.version}"
    checks.append((name, kernel is not None, remedy))
    return checks


def _confinement() -> tuple[str, bool, str]:
    """Return how guests are confined here, as a check."""
    try:
        layers = available_layers()
        lacks = "" if layers.namespaces else why_not(replace(layers, namespaces=True))
    except LauncherError as error:
        return "confinement of guests", False, str(error)
    name = f"confinement of guests: {', '.join(layers.names)}"
    if lacks:
        name += f" (no namespaces: {lacks})"
    return name, layers.keep_files_away, UNCONFINED


COMMAND = Command(Panel.LAB, doctor)
