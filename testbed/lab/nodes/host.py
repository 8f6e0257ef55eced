"""A node of the lab as a transport sees it: the lab's `testbed.transport.interface.Host`.

Sockets and processes belong to the network namespace in which they are made, so each method enters
the node's namespace for just that moment (`testbed.lab.net.namespace`).

Programs (`testbed.lab.nodes.process`) are supervised by one task each. If a program ends before its
host is closed, that task raises `ProcessEnded`, which cancels the cell. Closing a host ends its
programs, the last started first.
"""

from __future__ import annotations

import fcntl
import resource
import signal
import socket
import struct
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from random import Random

import trio

from testbed.experiment.cell import (
    BRIDGE_CERTIFICATE_FILE,
    BRIDGE_KEY_FILE,
    BRIDGE_NAME,
    CERTIFICATE_FILE,
)
from testbed.lab.net.network import NetworkNode
from testbed.lab.net.udp import BoundUdp, TimedUdpChannel, UdpChannel, open_socket
from testbed.lab.nodes.packet_path import MARK, PROXY_USER, PacketPath, Proxied
from testbed.lab.nodes.process import LabProcess, ProcessEnded, end, how_it_ended
from testbed.lab.nodes.rewriting_rules import lead_ports, masquerade
from testbed.lab.nodes.tap import Tap
from testbed.transport.client_side import PacketRewriter
from testbed.transport.framing import Take
from testbed.transport.interface import (
    PROGRAM_PATH,
    READY_TIMEOUT_S,
    Address,
    Process,
    Tls,
    TransportError,
    find_program,
)
from testbed.transport.program_log import MAX_LOG_BYTES, ProgramLog

PROCESSOR: Mapping[str, str] = {
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-FMA,-FMA4",
    "GODEBUG": "cpu.aes=off",
    "OPENSSL_ia32cap": "~0x4000000000000000:~0x40000",
}
"""The environment in which programs act alike on all processors, where they can be asked to.

glibc's functions of mathematics round differently with fused multiplication, and what Go offers in
a TLS handshake depends on whether the processor has instructions for AES. BoringSSL, which is in
libwebrtc, draws random numbers by RDRAND on Intel's processors, and so differs from run to run;
OPENSSL_ia32cap(3) hides RDRAND (bit 62) and RDSEED (bit 18 of the second word).
"""
_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
_LOOPBACK_INDEX = 1
_OWN_QUEUE = 1
"""The NFQUEUE of a node's own rewriter; middleboxes are other nodes, whose queues are others."""
_LOOK_EVERY_S = 0.01
"""How often to look whether a program reads its queue (virtual s)."""
_SIOCGIFADDR = 0x8915
_IFR_ADDRESS = slice(20, 24)
"""Where `struct ifreq` has an IPv4 address."""

LOST = (OSError, trio.EndOfChannel, trio.BrokenResourceError, trio.ClosedResourceError)
"""What says that there is nothing more to read from, or to write to."""


class LabHost:
    """One node during a cell; its processes and tasks end with the nursery's scope."""

    def __init__(
        self, node: NetworkNode, state_dir: Path, rng: Random, tls: Tls, nursery: trio.Nursery
    ) -> None:
        self.name: str = node.name
        self.address = node.address
        self.state_dir = state_dir
        self.random = rng
        self.tls = tls
        self.node = node
        self._nursery = nursery
        self._processes: list[tuple[LabProcess, Callable[[Process], Awaitable[None]] | None]] = []
        self._timed = {node.interfaces[0].ifindex}
        """The indices of the interfaces that send packets at their times."""
        self._paths: list[PacketPath | Proxied] = []
        self._spawned = 0
        self._may_end = False

    def free_port(self) -> int:
        """Return a port that nothing on the node uses for UDP or TCP."""
        with self.node.namespace.entered(), socket.socket() as tcp:
            while True:
                tcp.bind(("", 0))
                port: int = tcp.getsockname()[1]
                with socket.socket(type=socket.SOCK_DGRAM) as udp:
                    try:
                        udp.bind(("", port))
                    except OSError:
                        continue
                    return port

    async def open_udp(self, remote: Address, *, device: str = "", port: int = 0) -> UdpChannel:
        """Open a UDP socket connected to `remote`, through `device` if it is given.

        `port` is the local port; 0: any.
        """
        await trio.lowlevel.checkpoint()
        local = self.address
        if device:
            local = self._address_of(device)
            with self.node.namespace.entered():
                self._time_packets_of(socket.if_nametoindex(device))
        elif remote.host.startswith("127."):
            local = "127.0.0.1"
            self._time_packets_of(_LOOPBACK_INDEX)
        # Packets for later pass a queue when they are handed over, not when they leave.
        is_queued = any(isinstance(path, PacketPath) for path in self._paths)
        kind = UdpChannel if is_queued else TimedUdpChannel
        with self.node.namespace.entered():
            return kind(open_socket(Address(local, port), remote, device=device), device)

    def _address_of(self, device: str) -> str:
        """Return the IPv4 address of a network interface (netdevice(7)).

        Raises:
            OSError: It has none.
        """
        with self.node.namespace.entered(), socket.socket(type=socket.SOCK_DGRAM) as any_socket:
            request = struct.pack("16s24x", device.encode())
            answer = fcntl.ioctl(any_socket, _SIOCGIFADDR, request)
        return socket.inet_ntoa(answer[_IFR_ADDRESS])

    def _time_packets_of(self, index: int) -> None:
        """Let a network interface's packets leave at the times that their senders have set."""
        if index not in self._timed:
            self.node.time_packets_of(index)
            self._timed.add(index)

    async def serve_udp(self, local: Address) -> BoundUdp:
        """Open a UDP socket on an address of the node until the host closes."""
        await trio.lowlevel.checkpoint()
        with self.node.namespace.entered():
            server = BoundUdp(open_socket(local))
        self._nursery.start_soon(server.close_when_cancelled)
        return server

    def bind_udp(self, port: int) -> socket.socket:
        """Open an unconnected UDP socket on the node's address, for one of the lab's servers."""
        with self.node.namespace.entered():
            return open_socket(Address(self.address, port))

    def watch(self, server: Address, take: Take, *, peers: bool = False) -> Tap:
        """Start to record what the node's programs exchange with a server: see `Tap`."""
        return Tap(self.node.namespace, server, take, peers=peers)

    async def open_tcp(self, remote: Address) -> trio.SocketStream:
        """Connect to `remote`, with TCP_NODELAY.

        Raises:
            OSError: The connection was refused or timed out, or there is no route.
        """
        with self.node.namespace.entered():
            sock = trio.socket.socket()
        try:
            await sock.connect(remote)
        except BaseException:
            sock.close()
            raise
        return trio.SocketStream(sock)

    async def serve_tcp(
        self,
        port: int,
        handler: Callable[[trio.SocketStream], Awaitable[object]],
        *,
        at: str = "",
    ) -> Address:
        """Listen on a TCP port of the node's address, or of `at`, until the host closes."""
        with self.node.namespace.entered():
            sock = trio.socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        await sock.bind((at or self.address, port))
        sock.listen()
        listener = trio.SocketListener(sock)

        async def serve(stream: trio.SocketStream) -> None:
            await self._run(partial(handler, stream))

        self._nursery.start_soon(trio.serve_listeners, serve, [listener])
        return Address(*sock.getsockname())

    async def start_process(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stop: Callable[[Process], Awaitable[None]] | None = None,
        ready: str = "",
        ready_timeout_s: float = READY_TIMEOUT_S,
    ) -> LabProcess:
        """Start a program in the node's namespace, and wait for its `ready` words if there are any.

        Raises:
            FileNotFoundError: There is no such program.
            TransportError: It did not say the words within `ready_timeout_s`.
        """
        await trio.lowlevel.checkpoint()
        process = self._spawn(argv, env or {}, ready)
        self._processes.append((process, stop))
        self._nursery.start_soon(self._supervise, process)
        if process.program_log is not None:
            self._nursery.start_soon(process.program_log.copy)
            with trio.move_on_after(ready_timeout_s) as limit:
                await process.program_log.ready.wait()
            if limit.cancelled_caught:
                raise TransportError(
                    f"{process.name} did not say {ready!r} within {ready_timeout_s:g} s; "
                    f"its log ends: {process.log_tail()}"
                )
        return process

    def _spawn(
        self, argv: Sequence[str], env: Mapping[str, str], ready: str = "", user: int = 0
    ) -> LabProcess:
        program = find_program(argv[0])
        if program is None:
            raise FileNotFoundError(f"there is no program {argv[0]!r} in {PROGRAM_PATH}")
        name = f"{program.name} on {self.name}"
        self._spawned += 1
        log = self.state_dir / f"{program.name}-{self._spawned - 1}.log"
        with self.node.namespace.entered(), log.open("wb") as stderr:
            # Not trio.lowlevel.open_process: that starts the program in another thread, which is
            # not inside the namespace.
            popen = subprocess.Popen(
                [str(program), *argv[1:]],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if ready else stderr,
                env={"PATH": PROGRAM_PATH, "HOME": str(self.state_dir), **PROCESSOR, **env},
                cwd=self.state_dir,
                user=user,
            )
        # A program that floods its log is to end (by SIGXFSZ), and so is its cell, before the disk
        # is full.
        resource.prlimit(popen.pid, resource.RLIMIT_FSIZE, (MAX_LOG_BYTES, MAX_LOG_BYTES))
        process = LabProcess(popen, name, log)
        if ready:
            process.program_log = ProgramLog(process.stdout, log, ready)
        return process

    async def run_process(self, argv: Sequence[str], *, input: bytes = b"") -> bytes:
        """Run a program to its end; return what it printed.

        Raises:
            TransportError: Its exit status is not 0.
        """
        await trio.lowlevel.checkpoint()
        process = self._spawn(argv, {})
        self._nursery.start_soon(process.reap)
        try:
            async with process.stdin:
                await process.stdin.send_all(input)
            async with process.stdout:
                printed = b"".join([chunk async for chunk in process.stdout])
            status = await process.wait()
        except BaseException:
            process.send_signal(signal.SIGKILL)
            raise
        if status != 0:
            raise TransportError(
                f"{' '.join(argv)} ended with status {status}: {process.log_tail()}"
            )
        process.log.unlink()
        return printed

    async def masquerade(self, device: str) -> None:
        """Forward what comes in by a network interface as if it came from this node."""
        with self.node.namespace.entered():
            # /proc/sys/net is that of the thread's namespace, so no other thread may do this.
            _FORWARDING.write_text("1")  # noqa: ASYNC240
        self.node.nft(masquerade(device, self.address))

    async def lead_udp_ports(self, ports: range, port: int) -> None:
        """Let what arrives at a range of UDP ports go to one port, until the host closes."""
        await trio.lowlevel.checkpoint()
        self.node.nft(lead_ports(ports, self.address, port))

    async def queue_packets(self, queue: int, *, mark: int) -> None:
        """Hand the node's TCP and UDP packets to an NFQUEUE, until the host closes."""
        await trio.lowlevel.checkpoint()
        self._queue_packets(queue, mark)

    def _queue_packets(self, queue: int, mark: int) -> PacketPath:
        path = PacketPath(self.node, queue, mark)
        path.begin()
        self._paths.append(path)
        return path

    async def queue_is_read(self, queue: int) -> None:
        """Wait until a program reads an NFQUEUE of the node."""
        paths = [path for path in self._paths if isinstance(path, PacketPath)]
        [path] = [path for path in paths if path.queue == queue]
        while not path.is_read():  # noqa: ASYNC110 - the kernel tells nobody
            await trio.sleep(_LOOK_EVERY_S)

    async def rewrite_packets(self, rewriter: PacketRewriter) -> None:
        """Let a rewriter decide about the node's TCP and UDP packets, until the host closes."""
        path = self._queue_packets(_OWN_QUEUE, MARK)
        await self._nursery.start(path.rewrite, rewriter)

    async def proxy_tcp(self, argv: Sequence[str], port: int) -> None:
        """Run a transparent proxy, and lead the node's TCP connections to it, until it closes.

        Raises:
            FileNotFoundError: There is no such program.
        """
        await trio.lowlevel.checkpoint()
        process = self._spawn(argv, {}, user=PROXY_USER)
        self._processes.append((process, None))
        self._nursery.start_soon(self._supervise, process)
        proxied = Proxied(self.node, port)
        while not proxied.is_served():  # noqa: ASYNC110 - the kernel tells nobody
            await trio.sleep(_LOOK_EVERY_S)
        proxied.begin()
        self._paths.append(proxied)

    def start_task(self, task: Callable[[], Awaitable[object]], /) -> None:
        """Run a task until the host closes."""
        self._nursery.start_soon(self._run, task)

    async def _run(self, task: Callable[[], Awaitable[object]]) -> None:
        """Run a task, which may find the end of what it reads from once programs may end."""
        try:
            await task()
        except* LOST:
            if not self._may_end:
                raise

    def let_end(self) -> None:
        """From now on let programs end, as they do when the call is over, or others end."""
        self._may_end = True

    async def ended(self) -> list[str]:
        """Say of each program that has ended, though it was not yet to, how it did."""
        found = [] if self._may_end else [(p, p.status) for p, _ in self._processes]
        return [await how_it_ended(p, status) for p, status in found if status is not None]

    async def close(self) -> None:
        """End all processes, the last started first; remove the interfaces that they have made."""
        self.let_end()
        with trio.CancelScope(shield=True):
            for process, stop in reversed(self._processes):
                await end(process, stop)
            for path in self._paths:
                path.end()
        if self._spawned:
            self._remove_interfaces()

    def _remove_interfaces(self) -> None:
        """Remove the network interfaces that transports have made."""
        planned = {_LOOPBACK_INDEX, *(interface.ifindex for interface in self.node.interfaces)}
        with self.node.namespace.entered():
            present = [index for index, _ in socket.if_nameindex()]
        for index in present:
            if index not in planned:
                self.node.remove(index)

    async def _supervise(self, process: LabProcess) -> None:
        status = await process.reap()
        if not self._may_end:
            raise ProcessEnded(await how_it_ended(process, status))


def tls_of(job: Path) -> Tls:
    """Return the certificate for transports in a job's folder."""
    return Tls(
        certificate=job / BRIDGE_CERTIFICATE_FILE,
        key=job / BRIDGE_KEY_FILE,
        authority=job / CERTIFICATE_FILE,
        server_name=BRIDGE_NAME,
    )
