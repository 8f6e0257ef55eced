"""stunnel on both ends: it wraps a stream of framed datagrams in TLS (stunnel(8))."""

from dataclasses import dataclass
from typing import ClassVar

import trio

from testbed.transport.interface import Address, Host, Program, ServerInfo
from testbed.transport.tunnel import connect_stream, serve_streams


@dataclass(frozen=True)
class Transport:
    """stunnel, datagrams framed over its TLS stream. Reliable and in order."""

    programs: ClassVar[tuple[Program, ...]] = (Program("stunnel4", apt="stunnel4"),)

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Run a TLS server on `listen`, and behind it a service that unpacks the datagrams."""
        behind = await serve_streams(host, forward)
        files = f"cert = {host.tls.certificate}\nkey = {host.tls.key}"
        await _run(host, f"accept = {listen}\nconnect = {behind}\n{files}")
        return ServerInfo(listen)

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        """Run a client, which checks the server's certificate, and wait for the greeting."""
        local, name = Address("127.0.0.1", host.free_port()), host.tls.server_name
        checks = f"verifyChain = yes\nCAfile = {host.tls.authority}\ncheckHost = {name}"
        places = f"accept = {local}\nconnect = {server.address}\nsni = {name}"
        await _run(host, f"client = yes\n{places}\n{checks}")
        return await connect_stream(host, local)


async def _run(host: Host, service: str) -> None:
    path = host.state_dir / f"stunnel-{host.free_port()}.conf"
    path.write_text(f"foreground = yes\npid =\nsyslog = no\n[datagrams]\n{service}\n")
    await host.start_process(["stunnel4", str(path)], ready="Configuration successful")
