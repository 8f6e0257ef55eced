"""The command `demo`."""

from __future__ import annotations

from testbed.cli.plot import plot
from testbed.cli.registry import Command, Panel
from testbed.cli.run import run
from testbed.experiment.scenario import DEMO, RESULTS


def demo() -> None:
    """Reproduce the news of August 2025, and draw it: the table, the record and one figure.

    Runs `ru-calls-2025-08` afresh into results/demo.

    Example: testbed demo
    """
    folder = RESULTS / "demo"
    run(DEMO, out_folder=folder, fresh=True)
    plot(folder, ["usability"])


COMMAND = Command(Panel.RUN, demo, place=0)
