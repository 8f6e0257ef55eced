"""OpenVPN with TLS on both ends: a UDP socket goes through its tunnel (source: openvpn(8))."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import trio

from testbed.transport.interface import Address, Host, Program, ServerInfo
from testbed.transport.tunnel import ECHO_TIMEOUT_S, connect_vpn, serve_vpn

_SERVER, _SUBNET, _UP = "10.201.0.1", "10.201.0.0", "Initialization Sequence Completed"


@dataclass(frozen=True)
class Transport:
    """OpenVPN with TLS, a UDP packet each or all in one TCP stream. Unordered."""

    over: Literal["udp", "tcp"] = "udp"
    programs: ClassVar[tuple[Program, ...]] = (Program("openvpn", apt="openvpn"),)

    @property
    def udp_only(self) -> bool:
        """Whether clients send UDP datagrams only."""
        return self.over == "udp"

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Run a server on `listen`."""
        options = f"--server {_SUBNET} 255.255.255.0 --topology subnet --dh none --tcp-nodelay"
        options += f" --keepalive 10 60 --local {listen.host} --lport {listen.port} --duplicate-cn"
        return await serve_vpn(host, await self._run(host, options), _SERVER, listen, forward)

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        """Run a client, which checks the server's name, and wait for its first answer."""
        options = f"--client --nobind --remote {server.address.host} {server.address.port}"
        options += f" --verify-x509-name {host.tls.server_name} name"
        device = await self._run(host, f"{options} --route 0.0.0.0 0.0.0.0 {_SERVER} 9")
        return await connect_vpn(host, device, server)

    async def _run(self, host: Host, options: str) -> str:
        device, tls = f"tun{host.free_port()}", host.tls
        files = {"--ca": tls.authority, "--cert": tls.certificate, "--key": tls.key}
        command = f"openvpn --proto {self.over}4 --dev {device} --dev-type tun {options}".split()
        command += [str(word) for option in files.items() for word in option]
        await host.start_process(command, ready=_UP, ready_timeout_s=ECHO_TIMEOUT_S)
        return device
