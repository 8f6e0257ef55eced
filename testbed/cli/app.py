"""Assemble the command line from the commands in this folder, and run it."""

from __future__ import annotations

import signal
import sys

import typer

from testbed.cli.console import err
from testbed.cli.registry import commands
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
    """Run the command line; known errors are printed as one sentence, without a traceback.

    A request to end and a closed terminal interrupt it as ^C does.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup(1) has it
            signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        app()
    except KnownError as error:
        _quit(error, error.exit_status)
    except OSError as error:
        _quit(error, KnownError.exit_status)
    except Interrupted:
        err.print("Interrupted. Finished work is kept: run the same command again to continue.")
        sys.exit(INTERRUPTED)


def _quit(error: Exception, status: int) -> None:
    err.print("[bold red]error:[/] ", end="")
    err.print(str(error), markup=False)
    sys.exit(status)


for _name, _command in commands():
    _panel, _function, _ = _command
    if isinstance(_function, typer.Typer):
        app.add_typer(_function, name=_name, rich_help_panel=_panel.value)
    else:
        app.command(_name, rich_help_panel=_panel.value)(_function)
