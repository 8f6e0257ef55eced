"""WireGuard on both ends: a UDP socket goes through its tunnel (sources: wg(8), wireguard-go).

Both ends of a call may be clients, and a server knows each by its key and its address in the
tunnel, so there is one of either for each end.
"""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import trio

from testbed.transport.interface import Address, Host, Program, ServerInfo
from testbed.transport.tunnel import connect_vpn, serve_vpn

_SERVER, _ALL = "10.200.0.1", "AllowedIPs = 0.0.0.0/0"
_CLIENTS = {"caller": "10.200.0.2", "callee": "10.200.0.3"}
"""The clients' addresses in the tunnel, by node."""


@dataclass(frozen=True)
class Transport:
    """WireGuard (kernel or wireguard-go), one UDP packet per datagram. Unreliable and unordered."""

    implementation: Literal["kernel", "wireguard-go"] = "kernel"
    udp_only: ClassVar[bool] = True
    programs: ClassVar[tuple[Program, ...]] = (
        Program("wg", apt="wireguard-tools"),
        Program("wireguard-go", apt="wireguard-go"),
        Program("ip", apt="iproute2"),
        Program("nft", apt="nftables"),
    )

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Set up the server's tunnel, and a key for each client."""
        server, *keys = [b64encode(host.random.randbytes(32)).decode() for _ in ("", *_CLIENTS)]
        clients = dict(zip(_CLIENTS, keys, strict=True))
        peers = [
            f"PublicKey = {await _public(host, key)}\nAllowedIPs = {_CLIENTS[name]}/32"
            for name, key in clients.items()
        ]
        device = await self._add_tunnel(host, server, _SERVER, peers, listen.port)
        args = {**clients, "server": await _public(host, server)}
        return await serve_vpn(host, device, _SERVER, listen, forward, args)

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        """Set up the client's tunnel and wait for its first answer."""
        peer = f"PublicKey = {server.args['server']}\nEndpoint = {server.address}\n{_ALL}"
        name = "callee" if host.name == "callee" else "caller"
        device = await self._add_tunnel(host, server.args[name], _CLIENTS[name], [peer], port=0)
        return await connect_vpn(host, device, server)

    async def _add_tunnel(
        self, host: Host, key: str, address: str, peers: Sequence[str], port: int
    ) -> str:
        """Add a tunnel interface, with a default route that only sockets bound to it use."""
        device = f"wg{host.name[:6]}{host.free_port()}"
        config = host.state_dir / f"{device}.conf"
        sections = [f"[Interface]\nPrivateKey = {key}\nListenPort = {port}", *peers]
        config.write_text("\n[Peer]\n".join(sections) + "\n")
        if self.implementation == "kernel":
            await host.run_process(["ip", "link", "add", device, "type", "wireguard"])
        else:
            command, log = ["wireguard-go", "--foreground", device], {"LOG_LEVEL": "verbose"}
            await host.start_process(command, env=log, ready="UAPI listener started")
        await host.run_process(["wg", "setconf", device, str(config)])
        up = f"addr add {address}/24 dev {device}\nlink set {device} up\n"
        up += f"route add default dev {device} metric 9\n"
        await host.run_process(["ip", "-batch", "-"], input=up.encode())
        return device


async def _public(host: Host, private_key: str) -> str:
    return (await host.run_process(["wg", "pubkey"], input=private_key.encode())).decode().strip()
