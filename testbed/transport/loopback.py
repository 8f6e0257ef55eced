"""A host for testing a transport on this machine's loopback, in real time and without root.

`LoopbackHost` offers a transport all that a node of the lab offers, on 127.0.0.1, except network
interfaces.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self

import trio

from testbed.transport.client_side import PacketRewriter
from testbed.transport.interface import (
    READY_TIMEOUT_S,
    Address,
    Process,
    SocketChannel,
    Tls,
    TransportError,
    UdpServer,
)
from testbed.transport.program_log import ProgramLog

Stop = Callable[[Process], Awaitable[None]]

STOP_TIMEOUT_S = 5.0
"""How long a `stop` may take before SIGTERM is sent."""

LAST_WORDS_S = 0.5
"""How long after a program's end the rest of its output may arrive."""

_NOT_HERE = (
    "a loopback host has no network interfaces or packets of its own: "
    "try this transport in a guest (`testbed check transport`)"
)

LOG_TAIL_BYTES = 2000
"""How much of a program's log an error quotes."""


class LoopbackHost:
    """A `Host` on 127.0.0.1; an async context manager that stops all it started when it closes.

    Programs are supervised: if one ends before the host closes, the body is cancelled and a
    TransportError is raised, with the exit status and the end of the log. If the body raises an
    error itself, that error is raised instead, with the program's end as a note.
    """

    def __init__(
        self,
        name: str = "loopback",
        *,
        state_dir: Path | None = None,
        seed: int = 0,
        term_timeout_s: float = 2.0,
        tls: Tls | None = None,
    ) -> None:
        """Describe a host, which opens as a context.

        Without `state_dir`, it has a temporary folder. `term_timeout_s` is how long a program may
        take to end after SIGTERM. `tls` is for transports that use it.
        """
        self.name = name
        self.address = "127.0.0.1"
        self.random = Random(seed)
        self.tls = tls or Tls(Path("none"), Path("none"), Path("none"), "none")
        self._folder = None if state_dir else tempfile.TemporaryDirectory(prefix="loopback-")
        self.state_dir = state_dir or Path(self._folder.name if self._folder else "")
        self._term_timeout_s = term_timeout_s
        self._processes: list[tuple[LoopbackProcess, Stop | None]] = []
        self._failure: Exception | None = None
        self._closing = False
        self._nursery_of_host = trio.open_nursery()

    async def __aenter__(self) -> Self:
        """Open the host."""
        await trio.Path(self.state_dir).mkdir(parents=True, exist_ok=True)
        self._nursery = await self._nursery_of_host.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop programs, then tasks, and raise the first failure."""
        self._closing = True
        with trio.CancelScope(shield=True):
            for process, stop in reversed(self._processes):
                await self._stop(process, stop)
        self._nursery.cancel_scope.cancel()
        of_body = isinstance(error, Exception)  # else: none, or cancelled, perhaps by us
        try:
            of_nursery = (None, None, None) if of_body else (kind, error, traceback)
            await self._nursery_of_host.__aexit__(*of_nursery)
        except Exception as remaining:
            self._note_failure_on(remaining)
            raise
        finally:
            if self._folder is not None:
                self._folder.cleanup()
        if of_body:
            self._note_failure_on(error)
        elif self._failure is not None:
            raise self._failure

    def _note_failure_on(self, error: BaseException | None) -> None:
        if error is not None and self._failure not in (None, error):
            error.add_note(str(self._failure))

    def free_port(self) -> int:
        """Return a port that was free a moment ago."""
        with socket.socket() as tcp:
            tcp.bind(("", 0))
            port: int = tcp.getsockname()[1]
            return port

    async def open_udp(self, remote: Address, *, device: str = "") -> SocketChannel:
        """Open a UDP socket connected to `remote`.

        Raises:
            TransportError: A `device` was asked for.
        """
        if device:
            raise TransportError(_NOT_HERE)
        await trio.lowlevel.checkpoint()
        udp = socket.socket(type=socket.SOCK_DGRAM)
        udp.connect(remote)
        return _UdpChannel(udp)

    async def serve_udp(self, local: Address) -> UdpServer:
        """Open a UDP socket until the host closes."""
        udp = trio.socket.socket(type=trio.socket.SOCK_DGRAM)
        await udp.bind(local)
        server = _UdpServer(udp)
        self._nursery.start_soon(server.close_when_cancelled)
        return server

    async def open_tcp(self, remote: Address) -> trio.SocketStream:
        """Connect to `remote`.

        Raises:
            OSError: The connection was refused.
        """
        tcp = trio.socket.socket()
        try:
            await tcp.connect(remote)
        except BaseException:
            tcp.close()
            raise
        return trio.SocketStream(tcp)

    async def serve_tcp(
        self, port: int, handler: Callable[[trio.SocketStream], Awaitable[object]]
    ) -> Address:
        """Listen until the host closes; an error in a handler fails the host."""
        (listener,) = await trio.open_tcp_listeners(port, host=self.address)

        async def serve(stream: trio.SocketStream) -> None:
            await self._guard(lambda: handler(stream))

        self._nursery.start_soon(trio.serve_listeners, serve, [listener])
        return Address(*listener.socket.getsockname())

    async def start_process(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stop: Callable[[Process], Awaitable[None]] | None = None,
        ready: str = "",
        ready_timeout_s: float = READY_TIMEOUT_S,
    ) -> Process:
        """Start a program, and wait for its `ready` words if there are any.

        Raises:
            OSError: It cannot be started.
            TransportError: It did not say the words in time.
        """
        inherited = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.state_dir)}
        log = self.state_dir / f"{Path(argv[0]).name}-{len(self._processes)}.log"
        with log.open("wb") as stderr:
            process = await trio.lowlevel.open_process(
                list(argv),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if ready else stderr,
                cwd=self.state_dir,
                env=inherited | dict(env or {}),
            )
        supervised = LoopbackProcess(Path(argv[0]).name, process, log)
        self._processes.append((supervised, stop))
        if ready:
            supervised.program_log = ProgramLog(supervised.stdout, log, ready)
            self._nursery.start_soon(supervised.program_log.copy)
        self._nursery.start_soon(self._supervise, supervised)
        if supervised.program_log is not None:
            with trio.move_on_after(ready_timeout_s) as limit:
                await supervised.program_log.ready.wait()
            if limit.cancelled_caught:
                raise TransportError(f"{supervised.name} did not say {ready!r} in time")
        return supervised

    async def run_process(self, argv: Sequence[str], *, input: bytes = b"") -> bytes:
        """Run a program to its end; return what it printed.

        Raises:
            OSError: It cannot be started.
            TransportError: Its exit status is not 0.
        """
        done = await trio.run_process(
            list(argv), stdin=input, capture_stdout=True, capture_stderr=True, check=False
        )
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip()
            raise TransportError(f"{argv[0]} ended with status {done.returncode}: {said}")
        return bytes(done.stdout)

    async def masquerade(self, device: str) -> None:
        """Refuse: a test must not change this machine's own network.

        Raises:
            TransportError: Always.
        """
        raise TransportError(_NOT_HERE)

    async def lead_udp_ports(self, ports: range, port: int) -> None:
        """Refuse, as `masquerade` does.

        Raises:
            TransportError: Always.
        """
        raise TransportError(_NOT_HERE)

    async def queue_packets(self, queue: int, *, mark: int) -> None:
        """Refuse, as `masquerade` does.

        Raises:
            TransportError: Always.
        """
        raise TransportError(_NOT_HERE)

    async def queue_is_read(self, queue: int) -> None:
        """Refuse, as `masquerade` does.

        Raises:
            TransportError: Always.
        """
        raise TransportError(_NOT_HERE)

    async def rewrite_packets(self, rewriter: PacketRewriter) -> None:
        """Refuse, as `masquerade` does.

        Raises:
            TransportError: Always.
        """
        raise TransportError(_NOT_HERE)

    async def proxy_tcp(self, argv: Sequence[str], port: int) -> None:
        """Refuse, as `masquerade` does.

        Raises:
            TransportError: Always.
        """
        raise TransportError(_NOT_HERE)

    def start_task(self, task: Callable[[], Awaitable[object]], /) -> None:
        """Run a task until the host closes; an error in it fails the host."""
        self._nursery.start_soon(self._guard, task)

    async def _guard(self, task: Callable[[], Awaitable[object]]) -> None:
        try:
            await task()
        except Exception as error:
            self._fail(error)

    async def _supervise(self, process: LoopbackProcess) -> None:
        status = await process.wait()
        if not self._closing:
            await process.logged()
            log = process.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="backslashreplace")
            self._fail(
                TransportError(
                    f"{process.name} ended with exit status {status} while it was needed; "
                    + (f"its log ends:\n{log}" if log.strip() else "its log is empty")
                )
            )

    def _fail(self, error: Exception) -> None:
        self._failure = self._failure or error
        self._nursery.cancel_scope.cancel()

    async def _stop(self, process: LoopbackProcess, stop: Stop | None) -> None:
        if stop is not None and process.running:
            with trio.move_on_after(STOP_TIMEOUT_S):
                await self._guard(lambda: stop(process))
        if process.running:
            process.send_signal(signal.SIGTERM)
            with trio.move_on_after(self._term_timeout_s):
                await process.wait()
        if process.running:
            process.send_signal(signal.SIGKILL)
            await process.wait()
        await process.logged()
        await process.stdin.aclose()
        await process.stdout.aclose()


class LoopbackProcess:
    """A `Process` on this machine; `log` is the file that has its standard error."""

    def __init__(self, name: str, process: trio.Process, log: Path) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.name = name
        self.log = log
        self.stdin: trio.abc.SendStream = process.stdin
        self.stdout: trio.abc.ReceiveStream = process.stdout
        self.program_log: ProgramLog | None = None
        self._process = process

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    async def wait(self) -> int:
        """Wait for the end; return the exit status."""
        return await self._process.wait()

    async def logged(self) -> None:
        """Wait a moment until the log has the rest of its output."""
        if self.program_log is not None:
            with trio.move_on_after(LAST_WORDS_S):
                await self.program_log.ended.wait()

    def send_signal(self, signal_number: int, /) -> None:
        """Send it a signal."""
        self._process.send_signal(signal_number)


class _UdpServer:
    def __init__(self, udp: trio.socket.SocketType) -> None:
        self.address = Address(*udp.getsockname())
        self._socket = udp

    async def receive(self) -> tuple[bytes, Address]:
        while True:
            with suppress(ConnectionRefusedError):
                datagram, source = await self._socket.recvfrom(0xFFFF)
                return datagram, Address(*source)

    async def send(self, datagram: bytes, to: Address, /) -> None:
        with suppress(ConnectionRefusedError):
            await self._socket.sendto(datagram, to)

    async def close_when_cancelled(self) -> None:
        with self._socket:
            await trio.sleep_forever()


class _UdpChannel(SocketChannel):
    def __init__(self, udp: socket.socket) -> None:
        self.socket = udp
        self._socket = trio.socket.from_stdlib_socket(udp)

    async def send(self, value: bytes) -> None:
        # ICMP refused an earlier datagram; UDP may lose any.
        with suppress(ConnectionRefusedError):
            await self._socket.send(value)

    async def receive(self) -> bytes:
        while True:
            with suppress(ConnectionRefusedError):
                return await self._socket.recv(0xFFFF)

    async def aclose(self) -> None:
        self._socket.close()
        await trio.lowlevel.checkpoint()
