"""Send cells to the workers of a Dask scheduler: the option `--scheduler`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from testbed.cli.console import err
from testbed.experiment.cell import Cell
from testbed.experiment.explanations import ScenarioError
from testbed.run import runner

Scheduler = Annotated[
    str | None,
    typer.Option(
        metavar="tcp://HOST:PORT|tls://HOST:PORT|local[:N]",
        help="Send cells to the workers of this Dask scheduler, or to N of its own.",
    ),
]
Lab = tuple[runner.Conduct, Sequence[int]]
"""What conducts cells, and one place for each cell that it conducts at the same time."""
_SCHEDULER = re.compile(r"local(:[1-9][0-9]*)?|[a-z]+://\S+:[0-9]+")


def check_scheduler(scheduler: str | None) -> None:
    """Check how a scheduler is written.

    Raises:
        ScenarioError: It is neither local nor an address.
    """
    if scheduler is not None and not _SCHEDULER.fullmatch(scheduler):
        raise ScenarioError(
            f"--scheduler {scheduler}: expected local, local:N or an address such as "
            "tcp://127.0.0.1:8786"
        )


@contextmanager
def sent_to(scheduler: str | None, plan: Sequence[Cell], here: Lab) -> Iterator[Lab]:
    """Yield the scheduler's lab, or without a scheduler the lab of this machine.

    Raises:
        LabError: Dask is missing, or there is no scheduler or worker like this machine.
    """
    if scheduler is None:
        yield here
        return
    try:
        from testbed.run import cluster  # noqa: PLC0415 - it needs what is not always installed
    except ModuleNotFoundError as error:
        raise runner.LabError(
            f"--scheduler needs Dask ({error}): "
            f"{Path(sys.prefix) / 'bin' / 'pip'} install distributed==2026.8.0"
        ) from None
    with ExitStack() as stack:
        with err.status(f"asking the scheduler {scheduler} for its workers"):
            conduct = stack.enter_context(cluster.on_workers(scheduler, plan, _say))
        yield conduct, range(cluster.AT_A_TIME)


def _say(sentence: str) -> None:
    err.print(sentence[:1].upper() + sentence[1:], markup=False)
