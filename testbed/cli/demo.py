"""The command `demo`."""

from __future__ import annotations

from testbed.cli.registry import Command, Panel
from testbed.cli.run import run
from testbed.experiment.scenario import DEMO, RESULTS


def demo() -> None:
    """Reproduce the news of August 2025: the table, the record, one figure, and the answer.

    Runs `ru-calls-2025-08` afresh into results/demo.

    Example: testbed demo
    """
    run(DEMO, out_folder=RESULTS / "demo", fresh=True, figure=["usability"])


COMMAND = Command(Panel.RUN, demo, place=0)
