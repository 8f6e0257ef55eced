"""The command `calibrate`: send known traffic through censor profiles (`tools.calibration`)."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import trio
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from testbed.cli.console import err, out
from testbed.cli.kernel import guest_kernel
from testbed.cli.outputs import check_folder
from testbed.cli.registry import Command, Panel
from testbed.experiment.explanations import ScenarioError
from testbed.experiment.scenario import RESULTS, censor_names, load_any_censor, load_scenario
from testbed.tools.calibration import finding_tables
from testbed.tools.calibration.findings import Calibration, as_json

_SCENARIO = "ru-calls-2025-08"


def calibrate(
    profile: Annotated[
        str | None,
        typer.Argument(
            metavar="CENSOR", help="A name (`testbed list censors`), 'a + b', or ./mine.toml."
        ),
    ] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Calibrate all profiles that come with the project.")
    ] = False,
    links: Annotated[
        str | None,
        typer.Option(metavar="SCENARIO", help="Measure a scenario's links instead of a profile."),
    ] = None,
    folder: Annotated[
        Path, typer.Option("--out", help="The folder for the JSON file and the figure.")
    ] = RESULTS / "calibration",
    written_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of tables.")
    ] = False,
) -> None:
    """Send known traffic through a censor profile, and measure each of its numbers.

    It goes through the real kernel and the same middlebox as calls do, in virtual time. Each part
    of a stack is measured on its own. Status 1 if a measured number does not agree.

    Examples: testbed calibrate ru-calls-2025-08; testbed calibrate --links ru-calls-2025-08
    """
    if sum((profile is not None, all_, links is not None)) != 1:
        raise ScenarioError(
            "give exactly one of a profile, --all and --links SCENARIO, "
            f"for example: testbed calibrate {_SCENARIO}"
        )
    check_folder("--out", folder)
    stem, run = _what(profile, links)
    found = _run(run)
    paths = _written(found, folder, stem)
    if written_json:
        sys.stdout.write(as_json(found))
    else:
        _show(found, paths)
    _end(found)


def _written(found: Sequence[Calibration], folder: Path, stem: str) -> list[Path]:
    """Write calibrations as JSON and as figures, and return the paths."""
    # Imported here, not at the top: other commands must not load matplotlib.
    from testbed.show.drawing.files import write  # noqa: PLC0415
    from testbed.tools.calibration.figure import calibration  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}.json"
    path.write_text(as_json(found))
    return [path, *write(calibration(found), folder / stem)]


def _end(found: Sequence[Calibration]) -> None:
    """Print what does not agree, and exit with status 1 if something does not."""
    failures = [sentence for each in found for sentence in each.failures]
    for sentence in failures:
        err.print("[bold red]out of tolerance:[/] ", end="")
        err.print(sentence, markup=False)
    if failures:
        raise typer.Exit(1)


def calibrations() -> list[Calibration]:
    """Calibrate all profiles of the project with a progress bar."""
    return _run(_what(None, None)[1])


Report = Callable[[int, int], None]
Run = Callable[[Path, Report], list[Calibration]]


def _what(profile: str | None, links: str | None) -> tuple[str, Run]:
    """Return the stem of the output files, and the function to run with a folder for jobs."""
    from testbed.tools.calibration import profiles as runs  # noqa: PLC0415 - brings scipy, most of a second

    cpus = sorted(os.sched_getaffinity(0))
    if links is not None:
        scenario = load_scenario(links)

        def run_links(jobs: Path, report: Report) -> list[Calibration]:
            named = {name or scenario.name: each for name, each in scenario.link_sets.items()}
            return trio.run(runs.calibrate_links, named, guest_kernel(), jobs, cpus, report)

        return f"links-{scenario.name}", run_links
    found = [load_any_censor(name) for name in ([profile] if profile else censor_names())]
    profiles = [part for each in found for part in each.parts]

    def run_profiles(jobs: Path, report: Report) -> list[Calibration]:
        return trio.run(runs.calibrate_profiles, profiles, guest_kernel(), jobs, cpus, report)

    return found[0].name.replace(" + ", "+") if profile else "all", run_profiles


def _run(run: Run) -> list[Calibration]:
    """Run guests with a progress bar.

    Raises:
        ScenarioError: A profile needs something that the lab lacks.
    """
    columns = (
        TextColumn("calibrating"),
        BarColumn(),
        TextColumn("{task.completed:.0f} of {task.total:.0f} packets; time left:"),
        TimeRemainingColumn(),
    )
    with (
        tempfile.TemporaryDirectory(prefix="calibrate-") as temporary,
        Progress(*columns, console=err, transient=True) as progress,
    ):
        task = progress.add_task("", total=1)
        try:
            return run(
                Path(temporary) / "jobs",
                lambda done, all_: progress.update(task, completed=done, total=all_),
            )
        except ValueError as error:
            raise ScenarioError(str(error)) from None


def _show(found: Sequence[Calibration], paths: Sequence[Path]) -> None:
    if len(found) > 1:
        out.print(finding_tables.profiles_table(found))
        out.print(finding_tables.LEGEND_OF_ALL, style="dim")
    for each in found if len(found) == 1 else ():
        if each.measurements:
            out.print(finding_tables.numbers_table(each))
            out.print(finding_tables.LEGEND, style="dim")
        for measurement in each.measurements:
            if measurement.measured is None:
                out.print(measurement.sentence(), markup=False)
        if each.vectors:
            right = sum(vector.ok for vector in each.vectors)
            out.print(f"{right} of {len(each.vectors)} flows were treated as the profile says.")
    packets = sum(each.packets for each in found)
    virtual_s, wall_s = sum(e.virtual_s for e in found), sum(e.wall_s for e in found)
    out.print(f"{packets} packets, {virtual_s:.0f} virtual s in {wall_s:.1f} s of one core.")
    for path in paths:
        out.print(
            f"Record: {_short(path)}" if path.suffix == ".json" else f"Figure: {_short(path)}"
        )


def _short(path: Path) -> str:
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


COMMAND = Command(Panel.RUN, calibrate)
