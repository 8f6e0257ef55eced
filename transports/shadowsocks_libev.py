"""Shadowsocks, by shadowsocks-libev on both ends: UDP packets that look random (SIP004)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import trio

from testbed.transport.interface import Address, Host, Program, ServerInfo
from testbed.transport.tunnel import await_echo, serve_echo

_PROGRAMS = [Program(name, apt="shadowsocks-libev") for name in ("ss-server", "ss-tunnel")]


@dataclass(frozen=True)
class Transport:
    """Shadowsocks (shadowsocks-libev), one UDP packet per datagram. Unreliable and unordered."""

    method: Literal["aes-128-gcm", "aes-256-gcm", "chacha20-ietf-poly1305"] = "aes-256-gcm"
    programs: ClassVar[tuple[Program, ...]] = tuple(_PROGRAMS)

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Run a server on `listen`."""
        args = {"key": host.random.randbytes(16).hex(), "forward": str(forward)}
        command = (
            f"ss-server -U -s {listen.host} -p {listen.port} -m {self.method} -k {args['key']}"
        )
        await host.start_process(command.split(), ready="udp server listening")
        return ServerInfo(listen, {**args, "echo": str(await serve_echo(host))})

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        """Run a tunnel to an echo, wait for its answer, then run one to where datagrams go."""
        await await_echo(await self._tunnel(host, server, "echo"))
        return await self._tunnel(host, server, "forward")

    async def _tunnel(
        self, host: Host, server: ServerInfo, destination: str
    ) -> trio.abc.Channel[bytes]:
        (remote, port), local, args = server.address, host.free_port(), server.args
        command = f"ss-tunnel -U -s {remote} -p {port} -m {self.method} -k {args['key']}"
        command += f" -b 127.0.0.1 -l {local} -L {args[destination]}"
        await host.start_process(command.split(), ready="TCP relay disabled")
        return await host.open_udp(Address("127.0.0.1", local))
