"""A node's network and processes for a transport: the lab's side of `testbed.transport.Host`."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from random import Random

import trio

from testbed.lab.network import NamespaceNode
from testbed.lab.udp import UdpChannel, open_socket
from testbed.transport import Address, Process

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_STOP_S = 2.0
"""How long a program is given for each step of its end."""
_LOG_TAIL_BYTES = 2000


class ProcessEnded(Exception):  # noqa: N818 - it is not always an error of ours
    """A foreign program ended before its host was closed."""


class LabProcess:
    """A foreign program in a node (`testbed.transport.Process`)."""

    def __init__(self, popen: subprocess.Popen[bytes], name: str, log: Path) -> None:
        assert popen.stdin is not None
        assert popen.stdout is not None
        self.name = name
        self.log = log
        self.stdin: trio.abc.SendStream = trio.lowlevel.FdStream(os.dup(popen.stdin.fileno()))
        self.stdout: trio.abc.ReceiveStream = trio.lowlevel.FdStream(os.dup(popen.stdout.fileno()))
        popen.stdin.close()
        popen.stdout.close()
        self._popen = popen
        self._ended = trio.Event()

    async def reap(self) -> int:
        """Wait for the end in the one task that does; the others `wait`."""
        pidfd = os.pidfd_open(self._popen.pid)
        try:
            await trio.lowlevel.wait_readable(pidfd)
        finally:
            os.close(pidfd)
        status = self._popen.wait()
        self._ended.set()
        return status

    async def wait(self) -> int:
        """Wait for the end; give the exit status (negative: killed by that signal)."""
        await self._ended.wait()
        return self._popen.wait()

    def send_signal(self, signal_number: int, /) -> None:
        """Send it a signal."""
        self._popen.send_signal(signal_number)

    def log_tail(self) -> str:
        """Give the end of what it wrote to its standard error."""
        return self.log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").strip()


class LabHost:
    """One node during a cell; its processes and tasks end with the nursery's scope."""

    def __init__(
        self, node: NamespaceNode, state_dir: Path, rng: Random, nursery: trio.Nursery
    ) -> None:
        self.name: str = node.name
        self.address: str = node.defaultIntf().ip
        self.state_dir = state_dir
        self.random = rng
        self._node = node
        self._nursery = nursery
        self._processes: list[tuple[LabProcess, Callable[[Process], Awaitable[None]] | None]] = []
        self._closing = False

    async def open_udp(self, remote: Address) -> UdpChannel:
        """Open a UDP socket connected to `remote`."""
        await trio.lowlevel.checkpoint()
        with self._node.namespace.entered():
            return UdpChannel(open_socket(Address(self._local(remote), 0), remote))

    def bind_udp(self, port: int) -> socket.socket:
        """Open an unconnected UDP socket on the node's address, for a server of the lab."""
        with self._node.namespace.entered():
            return open_socket(Address(self.address, port))

    async def open_tcp(self, remote: Address) -> trio.SocketStream:
        """Connect to `remote` with TCP_NODELAY."""
        with self._node.namespace.entered():
            sock = trio.socket.socket()
        try:
            await sock.connect(remote)
        except BaseException:
            sock.close()
            raise
        return trio.SocketStream(sock)

    async def serve_tcp(
        self, port: int, handler: Callable[[trio.SocketStream], Awaitable[object]]
    ) -> Address:
        """Listen on a TCP port of the node's address until the host closes."""
        with self._node.namespace.entered():
            sock = trio.socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        await sock.bind((self.address, port))
        sock.listen()
        listener = trio.SocketListener(sock)
        self._nursery.start_soon(trio.serve_listeners, handler, [listener])
        return Address(self.address, sock.getsockname()[1])

    async def start_process(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stop: Callable[[Process], Awaitable[None]] | None = None,
    ) -> LabProcess:
        """Start a program in the node's namespace. FileNotFoundError: no such program."""
        await trio.lowlevel.checkpoint()
        program = shutil.which(argv[0], path=_PATH)
        if program is None:
            raise FileNotFoundError(f"no program {argv[0]!r} in {_PATH}")
        name = f"{Path(argv[0]).name} on {self.name}"
        log = self.state_dir / f"{Path(argv[0]).name}-{len(self._processes)}.log"
        with self._node.namespace.entered(), log.open("wb") as stderr:
            # Started at once and by this very thread, which is the one inside the namespace.
            popen = subprocess.Popen(  # noqa: ASYNC220
                [program, *argv[1:]],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={"PATH": _PATH, "HOME": str(self.state_dir), **(env or {})},
                cwd=self.state_dir,
            )
        process = LabProcess(popen, name, log)
        self._processes.append((process, stop))
        self._nursery.start_soon(self._supervise, process)
        return process

    def start_task(self, task: Callable[[], Awaitable[object]], /) -> None:
        """Run a task until the host closes."""
        self._nursery.start_soon(task)

    async def close(self) -> None:
        """End all processes, the last started first, each in the way that it was given."""
        self._closing = True
        with trio.CancelScope(shield=True):
            for process, stop in reversed(self._processes):
                await _end(process, stop)

    def _local(self, remote: Address) -> str:
        return "127.0.0.1" if remote.host.startswith("127.") else self.address

    async def _supervise(self, process: LabProcess) -> None:
        status = await process.reap()
        if not self._closing:
            raise ProcessEnded(
                f"{process.name} ended with status {status}; its log ends: {process.log_tail()}"
            )


async def _end(process: LabProcess, stop: Callable[[Process], Awaitable[None]] | None) -> None:
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
    await process.stdin.aclose()
    await process.stdout.aclose()
