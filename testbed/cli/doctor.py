"""The command `doctor`."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import replace

import typer
from rich.markup import escape
from rich.table import Table

from testbed.audio.opus import SPEECH_FOLDER
from testbed.cli.console import err, out
from testbed.cli.kernel import UNCONFINED
from testbed.cli.registry import Command, Panel
from testbed.cli.requirements import (
    missing_for_engines,
    missing_for_transports,
)
from testbed.experiment import scenario
from testbed.experiment.unfolding import cells
from testbed.guest.image.tree import our_image
from testbed.guest.image.upkeep import damages, disk_bytes
from testbed.guest.kernel.builder import Kernel, cached_kernel
from testbed.guest.kernel.confinement import available_layers, why_not
from testbed.guest.programs import needed
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
        table.add_row(state, escape(name), "" if is_there else escape(remedy))
    optional = {
        **{f"engine {name}": remedy for name, remedy in missing_for_engines().items()},
        **{f"transport {name}": remedy for name, remedy in missing_for_transports().items()},
    }
    for name, remedy in optional.items():
        table.add_row("[yellow]optional[/]", escape(name), escape(remedy))
    out.print(table)
    out.print(_sizes(), soft_wrap=True, markup=False)
    if not healthy:
        raise typer.Exit(1)


def _checks() -> list[tuple[str, bool, str]]:
    plan = cells(scenario.load_scenario(scenario.DEMO))
    checks = [
        (f"program {name}", shutil.which(name) is not None, "apt install util-linux")
        for name in ("setpriv", "taskset", "unshare")
    ]
    checks.append(("speech", any(SPEECH_FOLDER.glob("*.wav")), "apt install pocketsphinx-testdata"))
    kernel = cached_kernel()
    name = "guest kernel" if kernel is None else f"guest kernel {kernel.version}"
    checks.append((name, kernel is not None, "testbed kernel build"))
    if kernel is not None:
        checks.append(_confinement(kernel))
    return checks + _image_checks(needed(programs(plan)).groups)


def _image_checks(groups: Iterable[str]) -> list[tuple[str, bool, str]]:
    """Return whether some groups of the lab image are there, and all that is there is whole."""
    image = our_image()
    absent = image.missing(groups)
    megabytes = sum(file.size_bytes for file in absent) / 1e6
    name = f"lab image {image.hash} for the demo"
    with err.status("reads the lab image's files"):
        damaged = [f"{place.name}: {why}" for place, why in damages(image.folder).items()]
    remedy = f"testbed image build --verify ({'; '.join(damaged[:3])})"
    return [
        (name, not absent, f"testbed image build: fetches {megabytes:.0f} MB"),
        ("files of the lab image are as they were made", not damaged, remedy),
    ]


def _sizes() -> str:
    """Return what of the lab image is in the cache, and how much room that takes."""
    image = our_image()
    total = disk_bytes(image.folder) / 1e6
    others = disk_bytes(image.folder / "store", *image.kept()) / 1e6
    whole = sum(file.size_bytes for file in image.lock.files.values()) / 1e6
    said = (
        f"The lab image of {image.lock.date} ({image.lock.suite}) takes {total - others:.0f} MB in "
        f"{image.folder}; each scenario fetches its part, and all of it is {whole:.0f} MB to fetch."
    )
    if others >= 1:
        said += (
            f" Images of other versions take {others:.0f} MB there; they are removed a week after "
            "their last use, or by `testbed image sweep`."
        )
    return said


def _confinement(kernel: Kernel) -> tuple[str, bool, str]:
    """Return how guests are confined here, as a check."""
    layers = available_layers(kernel.launcher)
    lacks = ""
    if not layers.namespaces:
        lacks = why_not(kernel.launcher, replace(layers, namespaces=True))
    name = f"confinement of guests: {', '.join(layers.names)}"
    if lacks:
        name += f" (no namespaces: {lacks})"
    return name, layers.keep_files_away, UNCONFINED


COMMAND = Command(Panel.LAB, doctor)
