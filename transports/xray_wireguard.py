"""WireGuard by Xray on both ends, in user space, with a mask over its packets (`finalmask`).

Both ends of a call may be clients, and a server knows each by its key, as in `wireguard`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import trio

from testbed.transport import xray
from testbed.transport.interface import Address, Host, Program, ServerInfo

_SERVER = "10.200.0.1"
_CLIENTS = {"caller": "10.200.0.2", "callee": "10.200.0.3"}
"""The clients' addresses in the tunnel, by node."""
_NOISE_GAP_MS = "10-16"
"""How long a client waits after a packet of noise. Assumed: there is no default."""


@dataclass(frozen=True)
class Transport:
    """WireGuard (Xray) with a mask over its packets. Unreliable and unordered."""

    udp_only: ClassVar[bool] = True
    finalmask: Literal["none", "noise", "salamander", "header-srtp"] = "noise"
    """Nothing; random packets before the first one; all packets scrambled; SRTP's header before
    each packet."""
    noise_packets: int = 2
    """How many packets of noise a side sends before its first one. Assumed: there is no default."""
    noise_bytes: str = "100-400"
    """The least and the largest size of one. Assumed, too."""
    programs: ClassVar[tuple[Program, ...]] = (xray.PROGRAM,)

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Run a server on `listen` with a key for each client."""
        secret, public = await xray.key_pair(host)
        args = {"public": public, "mask": host.random.randbytes(16).hex()}
        peers: list[xray.Options] = []
        for name, address in _CLIENTS.items():
            private, of_client = await xray.key_pair(host)
            args[name] = private
            peers.append({"publicKey": of_client, "allowedIPs": [f"{address}/32"]})
        settings = {"secretKey": secret, "address": [f"{_SERVER}/32"], "peers": peers}
        inbound = {
            "protocol": "wireguard",
            "settings": {**settings, "noKernelTun": True},
            "streamSettings": self._masked(args),
        }
        return await xray.serve(host, inbound, listen, forward, args)

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        """Run a client and wait for its first answer."""
        name = "callee" if host.name == "callee" else "caller"
        peer = {"publicKey": server.args["public"], "endpoint": str(server.address)}
        settings = {"secretKey": server.args[name], "address": [f"{_CLIENTS[name]}/32"]}
        outbound = {
            "protocol": "wireguard",
            "settings": {**settings, "peers": [peer], "noKernelTun": True},
            "streamSettings": self._masked(server.args),
        }
        return await xray.connect(host, server, outbound)

    def _masked(self, secrets: Mapping[str, str]) -> xray.Options:
        settings: xray.Options = {}
        match self.finalmask:
            case "none":
                return {}
            case "noise":
                one = {"rand": self.noise_bytes, "delay": _NOISE_GAP_MS}
                settings = {"noise": [one] * self.noise_packets}
            case "salamander":
                settings = {"password": secrets["mask"]}
        return {"finalmask": {"udp": [{"type": self.finalmask, "settings": settings}]}}
