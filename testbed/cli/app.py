"""The command line: talks to a person, and leaves the work to others."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

import typer

from testbed.cli.about import doctor, print_list
from testbed.cli.bench import bench_app
from testbed.cli.build import build_programs
from testbed.cli.calibrate import calibrate
from testbed.cli.cite import print_citations, print_table
from testbed.cli.compare import export_tables, plot, print_comparison, print_difference
from testbed.cli.console import err
from testbed.cli.kernel import kernel_app
from testbed.cli.listen import listen, score
from testbed.cli.plan import print_schema
from testbed.cli.report import print_report
from testbed.cli.run import demo, run
from testbed.cli.saw import print_saw
from testbed.cli.transport import check_app, new_app, print_costs
from testbed.cli.validate import validate_calls
from testbed.errors import KnownError
from testbed.run.runner import Interrupted

INTERRUPTED = 130

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Which transport keeps a call usable under a censor's restriction, and how does it sound?",
    epilog="Example: [bold]testbed run ru-calls-2025-08 --messenger whatsapp[/bold]",
)


def main() -> None:
    """Run the command line; a known error is one sentence and a status, never a traceback."""
    try:
        app()
    except KnownError as error:
        _quit(error, error.exit_status)
    except OSError as error:
        _quit(error, KnownError.exit_status)
    except Interrupted:
        err.print("Interrupted. What is finished is kept: run it again to go on.")
        sys.exit(INTERRUPTED)


def _quit(error: Exception, status: int) -> None:
    err.print("[bold red]error:[/] ", end="")
    err.print(str(error), markup=False)
    sys.exit(status)


_COMMANDS: Mapping[str, Mapping[str, Callable[..., None] | typer.Typer]] = {
    "Run an emulation scenario": {
        "demo": demo,
        "run": run,
        "list": print_list,
        "calibrate": calibrate,
        "validate-calls": validate_calls,
        "schema": print_schema,
    },
    "Add a new transport": {
        "new": new_app,
        "check": check_app,
        "costs": print_costs,
        "saw": print_saw,
        "build": build_programs,
    },
    "Compare what was recorded": {
        "plot": plot,
        "report": print_report,
        "compare": print_comparison,
        "diff": print_difference,
        "listen": listen,
        "score": score,
        "export": export_tables,
        "table": print_table,
        "cite": print_citations,
    },
    "Look after the lab": {"doctor": doctor, "kernel": kernel_app, "bench": bench_app},
}
for _panel, _commands in _COMMANDS.items():
    for _name, _command in _commands.items():
        if isinstance(_command, typer.Typer):
            app.add_typer(_command, name=_name, rich_help_panel=_panel)
        else:
            app.command(_name, rich_help_panel=_panel)(_command)
