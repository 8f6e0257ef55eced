"""TURN, by coturn on the bridge and our own client of RFC 8656 (`testbed.transport.turn_client`).

From the address that it allocates on the bridge, coturn exchanges UDP with the messenger's relay.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import trio

from testbed.transport.channels import StreamDatagrams
from testbed.transport.interface import Address, Host, Program, ServerInfo
from testbed.transport.tcp_datagrams import TcpDatagrams
from testbed.transport.tunnel import open_tls
from testbed.transport.turn_client import frame_unit, open_channel, take_unit

_USER, _ONE_THREAD = "caller", "-m 0 --no-cli --no-rfc5780 --no-dtls --stale-nonce=0"
_ONLY = {"udp": "--no-tcp --no-tls", "tcp": "--no-udp --no-tls", "tls": "--no-udp --no-tcp"}


@dataclass(frozen=True)
class Transport:
    """TURN (coturn) as ChannelData, by UDP or in one stream of TCP or TLS. Unordered."""

    over: Literal["udp", "tcp", "tls"] = "udp"
    """The protocol between the client and the TURN server."""

    programs: ClassVar[tuple[Program, ...]] = (Program("turnserver", apt="coturn"),)

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Run a TURN server on `listen`."""
        password = host.random.randbytes(16).hex()
        port = "--tls-listening-port" if self.over == "tls" else "--listening-port"
        command = f"turnserver -n {_ONE_THREAD} {_ONLY[self.over]} --log-file stdout --simple-log"
        command += f" -L {listen.host} {port} {listen.port} -E {listen.host}"
        command += f" -a -r {host.tls.server_name} -u {_USER}:{password}"
        files = {"--cert": host.tls.certificate, "--pkey": host.tls.key}
        files |= {"--pidfile": host.state_dir / "pid", "--userdb": host.state_dir / "users"}
        options = [str(word) for option in files.items() for word in option]
        await host.start_process([*command.split(), *options], ready="Total General servers")
        return ServerInfo(listen, {"password": password, "forward": str(forward)})

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        """Allocate an address at the server, and bind a channel to where datagrams go."""
        link = await self._link(host, server.address)
        peer, credentials = Address.of(server.args["forward"]), (_USER, server.args["password"])
        return await open_channel(host, link, peer, credentials, reliable=self.over != "udp")

    async def _link(self, host: Host, server: Address) -> trio.abc.Channel[bytes]:
        if self.over == "udp":
            return await host.open_udp(server)
        if self.over == "tcp":
            return TcpDatagrams(await host.open_tcp(server), frame=frame_unit, take=take_unit)
        tls = await open_tls(host, server)
        return StreamDatagrams(tls, host, frame=frame_unit, take=take_unit)
