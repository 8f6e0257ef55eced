"""Run a foreign program in a node: its streams, its log, its end."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import IO

import trio

from testbed.transport.interface import Process
from testbed.transport.program_log import MAX_LOG_BYTES, ProgramLog

_STOP_S = 2.0
"""How long each step of ending a program may take."""
LAST_WORDS_S = 0.1
"""How long after a program's end the rest of its output may arrive."""
_LOG_TAIL_BYTES = 2000


async def wait_for_end(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end of a child, whose exit status is still to be collected afterwards."""
    pidfd = os.pidfd_open(process.pid)
    try:
        await trio.lowlevel.wait_readable(pidfd)
    finally:
        os.close(pidfd)


class ProcessEnded(Exception):  # noqa: N818 - a program may end without an error
    """A foreign program ended before its host was closed; the message has the end of its log."""


class LabProcess:
    """A foreign program in a node (`testbed.transport.interface.Process`)."""

    def __init__(self, popen: subprocess.Popen[bytes], name: str, log: Path) -> None:
        assert popen.stdin is not None
        assert popen.stdout is not None
        self.name = name
        self.log = log
        self.stdin: trio.abc.SendStream = _stream_of(popen.stdin)
        self.stdout: trio.abc.ReceiveStream = _stream_of(popen.stdout)
        self.program_log: ProgramLog | None = None
        """The copy of its output to the log, unless the program writes there itself."""
        self._popen = popen
        self._ended = trio.Event()

    @property
    def status(self) -> int | None:
        """The exit status as `wait` gives it; None: it has not ended."""
        return self._popen.poll()

    async def reap(self) -> int:
        """Wait for the end and collect the exit status; only one task may do this.

        All others call `wait`.
        """
        await wait_for_end(self._popen)
        status = self._popen.wait()
        self._ended.set()
        return status

    async def wait(self) -> int:
        """Wait for the end; return the exit status (negative: killed by that signal)."""
        await self._ended.wait()
        return self._popen.wait()

    def send_signal(self, signal_number: int, /) -> None:
        """Send the program a signal."""
        self._popen.send_signal(signal_number)

    async def logged(self) -> None:
        """Wait a moment until the log has the rest of its output.

        The output does not end with the program if a child of the program still has it open.
        """
        if self.program_log is not None:
            with trio.move_on_after(LAST_WORDS_S, shield=True):
                await self.program_log.ended.wait()

    def log_tail(self) -> str:
        """Return the end of its log."""
        return self.log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").strip()


async def how_it_ended(process: LabProcess, status: int) -> str:
    """Say how a program ended, with the end of its log."""
    await process.logged()
    flooded = process.log.stat().st_size >= MAX_LOG_BYTES
    how = f"ended with status {status}" + " when its log was full" * flooded
    return f"{process.name} {how}; its log ends: {process.log_tail()}"


async def end(process: LabProcess, stop: Callable[[Process], Awaitable[None]] | None) -> None:
    """End a program: by its `stop` if it has one, then by SIGTERM, then by SIGKILL."""
    steps: list[Callable[[], Awaitable[object] | None]] = []
    if stop is not None:
        steps.append(lambda: stop(process))
    steps += [
        lambda: process.send_signal(signal.SIGTERM),
        lambda: process.send_signal(signal.SIGKILL),
    ]
    for step in steps:
        with trio.move_on_after(_STOP_S):
            asked = step()
            if asked is not None:
                await asked
            await process.wait()
            break
    await process.logged()
    await process.stdin.aclose()
    await process.stdout.aclose()


def _stream_of(pipe: IO[bytes]) -> trio.lowlevel.FdStream:
    with pipe:
        return trio.lowlevel.FdStream(os.dup(pipe.fileno()))
