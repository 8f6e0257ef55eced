"""WireGuard on both ends: a UDP socket goes through its tunnel (sources: wg(8), wireguard-go)."""

from base64 import b64encode
from dataclasses import dataclass
from typing import ClassVar, Literal

import trio

from testbed.transport import Address, Host, Program, ServerInfo
from testbed.tunnel import connect_vpn, serve_vpn

_SERVER, _CLIENT, _ALL = "10.200.0.1", "10.200.0.2", "AllowedIPs = 0.0.0.0/0"


@dataclass(frozen=True)
class Transport:
    """WireGuard (the kernel's own or wireguard-go), a UDP packet each. Unreliable and unordered."""

    implementation: Literal["kernel", "wireguard-go"] = "kernel"
    programs: ClassVar[tuple[Program, ...]] = (
        Program("wg", apt="wireguard-tools"),
        Program("wireguard-go", apt="wireguard-go"),
        Program("ip", apt="iproute2"),
        Program("nft", apt="nftables"),
    )

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Make the server's tunnel, and a key for one client."""
        server, client = [b64encode(host.random.randbytes(32)).decode() for _ in range(2)]
        peer = f"PublicKey = {await _public(host, client)}\nAllowedIPs = {_CLIENT}/32"
        device = await self._add_tunnel(host, server, _SERVER, peer, listen.port)
        keys = {"key": client, "server": await _public(host, server)}
        return await serve_vpn(host, device, _SERVER, listen, forward, keys)

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        """Make the client's tunnel and wait for its first answer."""
        peer = f"PublicKey = {server.args['server']}\nEndpoint = {server.address}\n{_ALL}"
        device = await self._add_tunnel(host, server.args["key"], _CLIENT, peer, port=0)
        return await connect_vpn(host, device, server)

    async def _add_tunnel(self, host: Host, key: str, address: str, peer: str, port: int) -> str:
        """Add a tunnel interface, through which everything may be sent that asks for it."""
        device = f"wg{host.name[:6]}{host.free_port()}"
        config = host.state_dir / f"{device}.conf"
        config.write_text(f"[Interface]\nPrivateKey = {key}\nListenPort = {port}\n[Peer]\n{peer}\n")
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
