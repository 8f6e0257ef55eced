"""The command `check golden`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import trio
import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from testbed.cli.console import err, out, short
from testbed.cli.kernel import guest_kernel
from testbed.experiment.choosing import load_transport
from testbed.experiment.explanations import ScenarioError, there_are
from testbed.experiment.loading import programs_of
from testbed.experiment.scenario import checkout
from testbed.guest.kernel.builder import Kernel
from testbed.guest.programs import missing
from testbed.run.provenance import programs
from testbed.tools import golden_hashes
from testbed.transport.interface import Program


@dataclass(frozen=True)
class Subject:
    """Something with a golden hash, and how to observe it."""

    kind: str
    name: str
    needed: Sequence[Program]

    def observe(self, kernel: Kernel, folder: Path, cpus: Sequence[int]) -> golden_hashes.Observed:
        """Observe the subject in guests, in a folder that does not exist yet.

        Raises:
            ConductError: The observation failed.
        """
        if self.kind == "cell":
            cell = golden_hashes.golden_cells()[self.name]
            return trio.run(golden_hashes.observe_cell, kernel, cell, folder, cpus[-1])
        # It brings Mininet and pyroute2, half a second that no other command should wait for.
        from testbed.tools.conformance.conformance_suite import check_transport  # noqa: PLC0415

        choice = golden_hashes.golden_transports()[self.name]
        found = trio.run(check_transport, choice, kernel, folder, cpus)
        return golden_hashes.Observed(arrivals_ns=found.arrivals_ns)


def check_golden(
    name: Annotated[
        list[str] | None, typer.Option(help="Only this engine or transport (repeatable).")
    ] = None,
    update: Annotated[
        bool,
        typer.Option("--update", help="Replace all golden hashes, or those named, by new ones."),
    ] = False,
) -> None:
    """Compare what is observed in cells and transports with their golden hashes (two minutes).

    Hashes are compared in the laboratory (kernel and lab image) in which they were recorded;
    elsewhere it is said which one this is. Status 1: a hash differs.

    Examples: testbed check golden --name obfs4; testbed check golden --update
    """
    checkout("the comparison with golden hashes")
    wanted = _wanted(name or ())
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with TemporaryDirectory() as folder, Progress(*columns, console=err, transient=True) as bar:
        bench = _Bench(guest_kernel(), Path(folder), sorted(os.sched_getaffinity(0)))
        tracked = bar.track(wanted, description="observing")
        kept = golden_hashes.read_golden() if name else golden_hashes.Golden()
        ok = _update(bench, tracked, kept) if update else _compare(bench, tracked)
    if not ok:
        raise typer.Exit(1)


def _wanted(names: Sequence[str]) -> list[Subject]:
    """Return the subjects of these names, or all if none is given.

    Raises:
        ScenarioError: A name is none of a subject.
    """
    subjects = list(_subjects())
    known = {subject.name for subject in subjects}
    if unknown := sorted(set(names) - known):
        hint = there_are(unknown[0], known)
        raise ScenarioError(f"nothing is called {', '.join(unknown)} that has a hash; {hint}")
    return [subject for subject in subjects if not names or subject.name in names]


@dataclass(frozen=True)
class _Bench:
    """The place where subjects are observed."""

    kernel: Kernel
    folder: Path
    cpus: Sequence[int]

    def observe(self, subject: Subject) -> golden_hashes.Observed:
        folder = self.folder / f"{subject.kind} {subject.name}"
        return subject.observe(self.kernel, folder, self.cpus)


def _compare(bench: _Bench, subjects: Iterable[Subject]) -> bool:
    """Print for each subject whether its hash is the golden one; return whether none differs."""
    kept, ok = golden_hashes.read_golden(), True
    for subject in subjects:
        what = f"{subject.kind} {subject.name}"
        here = golden_hashes.laboratory(subject.needed, bench.kernel)
        if other := kept.other_laboratory(here):
            out.print(f"[yellow]not compared[/] {escape(f'{what}: {other}')}")
            continue
        complaint = kept.complaint(subject.kind, subject.name, bench.observe(subject))
        ok &= not complaint
        said = (
            f"[red]differs[/]   {escape(complaint)}" if complaint else f"[green]equal[/]     {what}"
        )
        out.print(said)
    return ok


def _update(bench: _Bench, subjects: Iterable[Subject], kept: golden_hashes.Golden) -> bool:
    """Observe subjects and store their hashes; return whether all programs are installed.

    The hashes that are `kept` beside them share one table of versions with them.

    Raises:
        ScenarioError: This is another laboratory than theirs.
    """
    found = golden_hashes.Golden()
    for subject in subjects:
        if lacks := missing(subject.needed):
            out.print(
                f"No hash was changed: {', '.join(lacks)} is missing: {', '.join(lacks.values())}"
            )
            return False
        versions = golden_hashes.laboratory(subject.needed, bench.kernel)
        if other := kept.conflict(versions):
            raise ScenarioError(
                f"the other hashes are of another laboratory, so update all: {other}"
            )
        hashed = golden_hashes.golden_hash(bench.observe(subject))
        found = found.joined(golden_hashes.Golden(versions, {subject.kind: {subject.name: hashed}}))
    golden_hashes.write_golden(kept.joined(found))
    out.print(f"Wrote {short(golden_hashes.GOLDEN_FILE)}", markup=False)
    return True


def _subjects() -> Iterator[Subject]:
    for name, cell in golden_hashes.golden_cells().items():
        yield Subject("cell", name, programs([cell]))
    for name, choice in golden_hashes.golden_transports().items():
        yield Subject("transport", name, list(programs_of(load_transport(choice))))
