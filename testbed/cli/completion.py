"""The command `completion`: what a shell needs to complete names after ./lab and testbed."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer
from typer._completion_shared import get_completion_script

from testbed.cli.registry import Command, Panel

_VARIABLE = "_TESTBED_COMPLETE"


class Shell(StrEnum):
    """The shells that can be served."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


_OF_LAB = {
    Shell.BASH: "complete -o default -F _testbed_completion ./lab",
    Shell.ZSH: "compdef _testbed_completion ./lab lab",
    Shell.FISH: "",  # it completes by the name of the program alone
}


def print_completion(
    shell: Annotated[Shell, typer.Argument(help="The shell that will read it.")],
) -> None:
    """Print what makes a shell complete commands, options and names, for ./lab and testbed.

    Example: eval "$(testbed completion bash)"
    """
    script = get_completion_script(prog_name="testbed", complete_var=_VARIABLE, shell=shell.value)
    sys.stdout.write("\n".join(filter(None, (script, _OF_LAB[shell]))) + "\n")


COMMAND = Command(Panel.LAB, print_completion)
