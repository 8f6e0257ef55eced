"""Assemble the command line from the commands in this folder, and run it."""

from __future__ import annotations

import os
import re
import signal
import sys
from typing import Annotated, NoReturn

import typer
from typer._click.exceptions import NoArgsIsHelpError, UsageError

from testbed import __version__
from testbed.cli.console import err, out
from testbed.cli.registry import commands
from testbed.errors import Interrupted, KnownError, did_you_mean

INTERRUPTED = 130
_POSSIBLE = re.compile(r" \(Possible options: (.*)\)")
_CHOICES = re.compile(r"'[^']*' is not one of .*")
"""How typer ends its sentences about unknown options and values."""

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Which transport keeps a call usable under a censor's restriction, and how does it sound?",
    epilog="Example: [bold]testbed run ru-calls-2025-08 --messenger whatsapp[/bold]",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        out.print(f"testbed {__version__}")
        raise typer.Exit


@app.callback()
def _testbed(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None: ...


def main() -> None:
    """Run the command line; known errors are printed as one sentence, without a traceback."""
    _interrupt_by_others()
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except UsageError as error:
        _quit(_usage_sentence(error), error.exit_code)
    except KnownError as error:
        _quit(str(error), error.exit_status)
    except OSError as error:
        _quit(_os_sentence(error), KnownError.exit_status)
    except Interrupted:
        err.print("Interrupted. Finished work is kept: run the same command again to continue.")
        sys.exit(INTERRUPTED)
    except BaseExceptionGroup as group:  # of tasks; KeyboardInterrupt alone is typer's
        if group.split(KeyboardInterrupt)[1] is not None:
            raise
        sys.exit(INTERRUPTED)


def _interrupt_by_others() -> None:
    """Let a request to end and a closed terminal interrupt the program as ^C does.

    A shell without job control has what it starts in the background ignore ^C. There the program
    does not ignore it, because then the others could not interrupt it either.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup(1) has it
            signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))


def _usage_sentence(error: UsageError) -> str:
    """Return what is wrong with the words of a command, and what is allowed."""
    text = error.format_message().replace("Value error, ", "").rstrip(".")
    if options := _POSSIBLE.search(text):
        given = text[: options.start()]
        text = given + did_you_mean(given.split()[-1], options[1].split(", "))
    elif choices := _CHOICES.search(text):
        given, *known = re.findall(r"'([^']*)'", choices[0])
        text += did_you_mean(given, known)
    command = error.ctx.command_path if error.ctx is not None else "testbed"
    end = "" if text.endswith("?") else "."
    return f"{text}{end} See {command} --help"


def _os_sentence(error: OSError) -> str:
    if error.filename is None or error.strerror is None:
        return str(error)
    return f"{error.filename}: {error.strerror}"


def _quit(sentence: str, status: int) -> NoReturn:
    """Print an error and end; what is not printable in names and texts of others is escaped."""
    shown = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in sentence)
    err.print("[bold red]error:[/] ", end="")
    err.print(shown, markup=False)
    sys.exit(status)


def _first_word() -> list[str]:
    """Return the command to run, or the one whose words a shell completes; none if it is open."""
    if "_TESTBED_COMPLETE" not in os.environ:
        return sys.argv[1:2]
    line = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS", "")
    _, *words = re.split(r"\s", line)
    return words[:1] if len(words) > 1 else []  # the last word is the one to complete


for _name, _command in commands(_first_word()):
    _panel, _function, _ = _command
    if isinstance(_function, typer.Typer):
        app.add_typer(_function, name=_name, rich_help_panel=_panel.value)
    else:
        app.command(_name, rich_help_panel=_panel.value)(_function)
