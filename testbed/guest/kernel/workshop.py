"""Where a kernel and other programs are compiled: in a tree of the lab image, by its compiler.

A workshop has the same paths on every host, and nothing of the host's: no name, no date, no tool
gets into what is built.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.guest.image.enter import ENVIRONMENT, entered
from testbed.guest.image.lock import KERNEL
from testbed.guest.image.tree import our_image
from testbed.guest.kernel.source import KernelBuildError

WORK, RECIPE = Path("/run/work"), Path("/run/recipe")
"""Where the folder with what is built, and the one that it is built from, are in the tree."""

_FIXED: Mapping[str, str] = {
    "LC_ALL": "C",
    "KBUILD_BUILD_TIMESTAMP": "Wed Aug 13 00:00:00 UTC 2025",
    "KBUILD_BUILD_USER": "testbed",
    "KBUILD_BUILD_HOST": "testbed",
    "KBUILD_BUILD_VERSION": "1",
}
"""User names, host names and dates that would otherwise make equal builds differ."""


@dataclass(frozen=True)
class Workshop:
    """A tree of tools, and two folders of the host that it shows."""

    tools: Path
    folder: Path
    """The folder with what is being built; it is `WORK` in the tree."""
    recipe: Path
    """The folder with our files; it is `RECIPE` in the tree."""
    log: Path

    def command(self, *words: str, cwd: Path = WORK) -> list[str]:
        """Return the host's command that runs a command in the tree; `cwd` is a path in the tree.

        Raises:
            ImageError: This system does not allow it.
        """
        environment = [f"{name}={value}" for name, value in {**ENVIRONMENT, **_FIXED}.items()]
        command = ["env", "-i", "-C", str(cwd), *environment, *words]
        return entered(self.tools, command, {WORK: self.folder, RECIPE: self.recipe})

    def run(self, *words: str, cwd: Path = WORK) -> None:
        """Run a command in the tree; its output goes to the log.

        Raises:
            KernelBuildError: The command failed.
        """
        for _ in self.lines(*words, cwd=cwd):
            pass

    def lines(self, *words: str, cwd: Path = WORK) -> Iterator[str]:
        """Run a command in the tree, yield its lines of output, and append them to the log.

        Raises:
            KernelBuildError: The command failed.
        """
        return _lines(self.command(*words, cwd=cwd), words[0], self.log)


def compile_program(source: Path, program: Path, *options: str) -> None:
    """Compile a program in C for guests, in the folder in which it is wanted.

    Raises:
        KernelBuildError: It does not compile.
    """
    with tempfile.NamedTemporaryFile() as log:
        tools = our_image().tree([KERNEL])
        shop = Workshop(tools, program.parent, source.parent, Path(log.name))
        shop.run("gcc", *options, "-o", program.name, str(RECIPE / source.name))


def _lines(command: Sequence[str], name: str, log: Path) -> Iterator[str]:
    """Run a command, yield its lines of output as they come, and append them to the log.

    If the caller stops early, the command and everything that it started are killed.

    Raises:
        KernelBuildError: The command failed.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        with process.stdout, log.open("a", buffering=1, encoding="utf-8") as kept:
            for line in process.stdout:
                kept.write(line)
                yield line
        status = process.wait()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if status:
        said = log.read_text("utf-8", "replace")[-2000:]
        raise KernelBuildError(
            f"`{name}` failed with exit status {status}; all it said is in {log}, "
            f"the end of which is:\n{said}"
        )
