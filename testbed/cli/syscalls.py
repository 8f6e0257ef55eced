"""The command `bench profile`: print the system calls of each program in a cell."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import trio
import typer
from rich.markup import escape
from rich.table import Table

from testbed.cli.console import out
from testbed.cli.kernel import guest_kernel
from testbed.errors import did_you_mean
from testbed.guest.kernel.job import PROFILE_FILE
from testbed.record.left_files import read_left
from testbed.record.results import ResultsError
from testbed.run import runner
from testbed.tools.syscall_profile import FAULT, IDLE, SWITCH, USER, Program, read_profile

if TYPE_CHECKING:
    from testbed.tools.benchmark import CellKind

_CALLS = 8
"""The number of kinds of system calls that are shown."""
_LEAST_SHARE = 0.005
"""Programs that took a smaller share of a cell are left out."""


def profile(
    cell: Annotated[str, typer.Argument(help="A kind of cell, as of `testbed bench`.")] = "direct",
    transport: Annotated[str, typer.Option(help="By this transport instead.")] = "",
    messenger: Annotated[str, typer.Option(help="With this messenger instead.")] = "",
    seconds: Annotated[
        float | None,
        typer.Option(min=1, max=3600, help="How long the call is; by default as benched."),
    ] = None,
) -> None:
    """Show what each program of a cell does: system calls by kind, faults, wake-ups, and time.

    Times are wall time on this machine, in user space (including the switches to and from it) and
    in the kernel; a busy machine makes them longer. Counts are exact, and profiling does not change
    them.

    Examples: testbed bench profile obfs4; testbed bench profile engine --seconds 10;
    testbed bench profile direct --transport tuic
    """
    from testbed.run.jobs import prepare_job  # noqa: PLC0415 - brings Mininet and pyroute2, half a second

    kind = _kind(cell)
    kind = replace(
        kind,
        transport=transport or kind.transport,
        messenger=messenger or kind.messenger,
        duration_s=seconds or kind.duration_s,
    )
    if kind.lacks:
        raise ResultsError(kind.lacks)
    conduct = runner.in_guest(guest_kernel(), profile=True)
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job"
        prepare_job(job, kind.cell)
        trio.run(conduct, job, kind.cell, max(os.sched_getaffinity(0)))
        programs = read_profile(read_left(job, PROFILE_FILE).decode())
    _show(programs)


def _kind(name: str) -> CellKind:
    """Return the kind of cell with a name.

    Raises:
        ResultsError: There is none.
    """
    from testbed.tools import benchmark  # noqa: PLC0415 - as above

    kinds = {kind.name: kind for kind in benchmark.KINDS}
    if name not in kinds:
        hint = did_you_mean(name, kinds)
        raise ResultsError(f"no kind of cell {name}; there are {', '.join(kinds)}{hint}")
    return kinds[name]


def _show(programs: list[Program]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in (
        "Threads",
        "ms",
        "user ms",
        "switches",
        "page faults",
        "system calls",
        "most frequent",
    ):
        left = heading in ("Threads", "most frequent")
        table.add_column(heading, justify="left" if left else "right")
    whole_s = sum(program.took_s for program in programs)
    for program in programs:
        if program.took_s < _LEAST_SHARE * whole_s:
            continue
        user_s = sum(each.took_s for each in program.did if each.what == USER)
        calls = program.syscalls
        table.add_row(
            "(idle)" if program.name.startswith(IDLE) else escape(program.name),
            f"{program.took_s * 1e3:,.0f}",
            f"{user_s * 1e3:,.0f}",
            f"{program.count(SWITCH):,}",
            f"{program.count(FAULT):,}",
            f"{sum(each.count for each in calls):,}",
            ", ".join(f"{each.what} {each.count:,}" for each in calls[:_CALLS]),
        )
    out.print(table)
