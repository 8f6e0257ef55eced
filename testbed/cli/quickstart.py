"""The command `quickstart`: the first calls, their report, and what to do next."""

from __future__ import annotations

from testbed.cli.console import out, short
from testbed.cli.registry import Command, Panel
from testbed.cli.report import print_report
from testbed.cli.run import run
from testbed.experiment.scenario import RESULTS

_SCENARIO = "quick"


def quickstart() -> None:
    """Make the first calls, in less than a minute once all is built, and write their report.

    What is missing is built first: the guest kernel (3 to 6 minutes on two cores) and the parts of
    the lab image that these calls need.

    Example: testbed quickstart
    """
    folder = RESULTS / _SCENARIO
    run(_SCENARIO, out_folder=folder)
    print_report(folder)
    out.print(
        f"Next: testbed open {short(folder)}; testbed demo; testbed list scenarios; "
        "testbed new transport NAME"
    )


COMMAND = Command(Panel.RUN, quickstart, place=0)
