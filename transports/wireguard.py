"""WireGuard in the kernels of both ends: a UDP socket goes through its tunnel (source: wg(8))."""

from base64 import b64encode
from dataclasses import dataclass
from typing import ClassVar

import trio

from testbed.transport import Address, Host, Program, ServerInfo
from testbed.tunnel import await_echo, serve_echo

_SERVER, _CLIENT, _ALL = "10.200.0.1", "10.200.0.2", "AllowedIPs = 0.0.0.0/0"


@dataclass(frozen=True)
class Transport:
    """WireGuard (the kernel's own), a UDP packet each. Unreliable and unordered."""

    programs: ClassVar[tuple[Program, ...]] = (
        Program("wg", apt="wireguard-tools"),
        Program("ip", apt="iproute2"),
        Program("nft", apt="nftables"),
    )

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Make the server's tunnel, and a key for one client."""
        server, client = [b64encode(host.random.randbytes(32)).decode() for _ in range(2)]
        peer = f"PublicKey = {await _public(host, client)}\nAllowedIPs = {_CLIENT}/32"
        device = await _add_tunnel(host, server, _SERVER, peer, port=listen.port)
        await host.masquerade(device)
        echo = await serve_echo(host, _SERVER)
        args = {"key": client, "server": await _public(host, server), "echo": str(echo.port)}
        return ServerInfo(listen, {**args, "forward": str(forward)})

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        """Make the client's tunnel and wait for its first answer."""
        peer = f"PublicKey = {server.args['server']}\nEndpoint = {server.address}\n{_ALL}"
        device = await _add_tunnel(host, server.args["key"], _CLIENT, peer)
        echo = Address(_SERVER, int(server.args["echo"]))
        await await_echo(await host.open_udp(echo, device=device))
        relay, _, port = server.args["forward"].rpartition(":")
        return await host.open_udp(Address(relay, int(port)), device=device)


async def _public(host: Host, private_key: str) -> str:
    return (await host.run_process(["wg", "pubkey"], input=private_key.encode())).decode().strip()


async def _add_tunnel(host: Host, key: str, address: str, peer: str, port: int = 0) -> str:
    """Add a tunnel interface, through which everything may be sent that asks for it."""
    device = f"wg{host.free_port()}"
    config = host.state_dir / f"{device}.conf"
    config.write_text(f"[Interface]\nPrivateKey = {key}\nListenPort = {port}\n[Peer]\n{peer}\n")
    await host.run_process(["ip", "link", "add", device, "type", "wireguard"])
    await host.run_process(["wg", "setconf", device, str(config)])
    up = f"addr add {address}/24 dev {{0}}\nlink set {{0}} up\nroute add default dev {{0}} metric 9"
    await host.run_process(["ip", "-batch", "-"], input=up.format(device).encode())
    return device
