"""What transports share that run a command of the user's own: a program, arguments, and files."""

from __future__ import annotations

from collections.abc import Sequence

from testbed.transport.interface import Program


def check_command(command: Sequence[str], files: Sequence[str]) -> None:
    """Check that a command can be run in a guest with copies of its files.

    Raises:
        ValueError: It is empty, has a relative path, or does not name one of the files.
    """
    if not command:
        raise ValueError("command: a list of a program and its arguments")
    for path in (command[0], *files):
        if "/" in path and not path.startswith("/"):
            raise ValueError(f"{path!r} is neither a name nor an absolute path")
    for file in files:
        if not any(file in argument for argument in command):
            raise ValueError(f"files: the command does not name {file!r}")


def programs_of(command: Sequence[str], files: Sequence[str]) -> tuple[Program, ...]:
    """Return the program of a command, and the files that it reads."""
    return (Program(command[0]), *(Program(file, is_data=True) for file in files))


def as_here(command: Sequence[str], files: Sequence[str]) -> list[str]:
    """Return a command with its files where this guest has them.

    Raises:
        TransportError: A file is not here.
    """
    argv = list(command)
    for file in files:
        here = Program(file, is_data=True).path()
        argv = [argument.replace(file, here) for argument in argv]
    return argv
