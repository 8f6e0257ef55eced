"""Runs Xray as the server and the client of protocols that it speaks.

Configuration reference: https://xtls.github.io/en/config/. As with sing-box
(`testbed.transport.singbox`), the client accepts datagrams on two local UDP ports: one leads to
where datagrams are to go, the other to an echo behind the server. Each is a `dokodemo-door`.

REALITY's server answers whoever does not know its secret with the handshake of a cover site. That
site is a TLS server of the lab on the same node. When Xray starts, it connects to the site several
times to learn how it behaves after a handshake, so that it can imitate it. A client that comes
earlier waits for 5 s, and so does one whose site keeps these connections open. Hence our site ends
each connection after the handshake, and a server is ready when all of Xray's have ended.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from contextlib import suppress

import trio

from testbed.transport.interface import (
    READY_TIMEOUT_S,
    Address,
    Host,
    Program,
    ServerInfo,
    TransportError,
)
from testbed.transport.tunnel import local_ports, open_local, serve_echo, server_tls_context

Options = Mapping[str, object]
"""A part of Xray's configuration, for JSON."""

PROGRAM = Program("xray", go=True)
_READY = " started"
_PROBES = 6
"""How often a server connects to its cover site: twice for each of three lists of protocols
(https://github.com/XTLS/REALITY, `record_detect.go`)."""
_PUBLIC = re.compile(r"^Password \(PublicKey\): (\S+)$", re.MULTILINE)


async def key_pair(host: Host) -> tuple[str, str]:
    """Draw a private key of X25519; return it and its public key, in base64url.

    Raises:
        TransportError: Xray does not print the public key.
    """
    private = urlsafe_b64encode(host.random.randbytes(32)).decode().rstrip("=")
    printed = (await host.run_process([PROGRAM.path(), "x25519", "-i", private])).decode()
    if (found := _PUBLIC.search(printed)) is None:
        raise TransportError(f"xray x25519 printed no public key, but {printed!r}")
    return private, found[1]


class Cover:
    """REALITY's cover site."""

    def __init__(self, host: Host) -> None:
        self._context = server_tls_context(host)
        self._ended = trio.Semaphore(0)

    async def answer(self, stream: trio.SocketStream) -> None:
        """Make the handshake with a visitor, and close the connection."""
        tls = trio.SSLStream(stream, self._context, server_side=True, https_compatible=True)
        try:
            with suppress(trio.BrokenResourceError):
                await tls.do_handshake()
        finally:
            await trio.aclose_forcefully(tls)
            self._ended.release()

    async def probed(self) -> None:
        """Wait until Xray has learnt how the site behaves.

        Raises:
            TransportError: It does not connect as often as it should.
        """
        with trio.move_on_after(READY_TIMEOUT_S):
            for _ in range(_PROBES):
                await self._ended.acquire()
            return
        raise TransportError("xray has not probed its cover site; is it another version?")


async def reality(host: Host) -> tuple[Cover, Options, dict[str, str]]:
    """Start a cover site; return it, a server's settings, and what its clients must know."""
    cover = Cover(host)
    private, public = await key_pair(host)
    short_id = host.random.randbytes(8).hex()
    server = {
        "target": str(await host.serve_tcp(0, cover.answer)),
        "serverNames": [host.tls.server_name],
        "privateKey": private,
        "shortIds": [short_id],
    }
    return cover, server, {"publicKey": public, "shortId": short_id}


def reality_client(host: Host, secrets: Mapping[str, str], fingerprint: str) -> Options:
    """Return a client's settings of REALITY; `fingerprint` is the browser that it imitates."""
    known = {key: secrets[key] for key in ("publicKey", "shortId")}
    return {"serverName": host.tls.server_name, "fingerprint": fingerprint, **known}


def tls_server(host: Host, alpn: list[str]) -> Options:
    """Return a server's settings of TLS, with the lab's certificate."""
    files = {"certificateFile": str(host.tls.certificate), "keyFile": str(host.tls.key)}
    return {"alpn": alpn, "certificates": [files]}


def tls_client(host: Host, alpn: list[str], fingerprint: str) -> Options:
    """Return a client's settings of TLS, which check the server's certificate."""
    authority = {"usage": "verify", "certificateFile": str(host.tls.authority)}
    own = {"certificates": [authority], "disableSystemRoot": True}
    return {
        "serverName": host.tls.server_name,
        "alpn": alpn,
        "fingerprint": fingerprint,
        **own,
    }


async def serve(
    host: Host, inbound: Options, listen: Address, forward: Address, secrets: Mapping[str, str]
) -> ServerInfo:
    """Run a server on `listen`; `secrets` is what clients must know besides its address."""
    echo = await serve_echo(host, host.address)  # WireGuard's side does not lead to 127.0.0.1
    place = {"listen": listen.host, "port": listen.port}
    # By its authority, it believes the cover site.
    env = {"SSL_CERT_FILE": str(host.tls.authority)}
    await _run(host, "server", [{**inbound, **place}], [{"protocol": "freedom"}], env)
    return ServerInfo(listen, {**secrets, "forward": str(forward), "echo": str(echo)})


async def connect(host: Host, server: ServerInfo, outbound: Options) -> trio.abc.Channel[bytes]:
    """Run a client that sends through an outbound; wait until the tunnel works.

    Raises:
        TransportError: The client did not run, or nothing came back through it.
    """
    local = local_ports(host)
    inbounds = []
    for name, address in local.items():
        to = Address.of(server.args[name])
        door = {"address": to.host, "port": to.port, "network": "udp"}
        place = {"listen": address.host, "port": address.port}
        inbounds.append({"protocol": "dokodemo-door", "settings": door, **place})
    await _run(host, f"client-{local['forward'].port}", inbounds, [outbound], {})
    return await open_local(host, local)


async def _run(
    host: Host,
    name: str,
    inbounds: Sequence[Options],
    outbounds: Sequence[Options],
    env: Mapping[str, str],
) -> None:
    path = host.state_dir / f"xray-{name}.json"
    log = {"loglevel": "warning", "access": "none"}
    config = {"log": log, "inbounds": inbounds, "outbounds": outbounds}
    path.write_text(json.dumps(config, indent=1))
    command = [PROGRAM.path(), "run", "-config", str(path)]
    await host.start_process(command, env=env, ready=_READY)
