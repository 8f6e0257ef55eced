"""iodine, a DNS tunnel, on both ends: a UDP socket goes through its interface (iodine(8))."""

from dataclasses import dataclass
from typing import ClassVar

import trio

from testbed.transport.interface import Address, Host, Program, ServerInfo
from testbed.transport.tunnel import connect_vpn, serve_vpn

_SERVER, _DOMAIN, _PROGRAMS = "10.202.0.1", "t.bridge.example", ("iodined", "iodine")


@dataclass(frozen=True)
class Transport:
    """iodine, in UDP packets to DNS's port or in DNS queries. Unreliable and unordered."""

    raw: bool = True
    """Whether raw packets are tried, as iodine does wherever it reaches its server without a
    resolver. In DNS queries only one datagram is under way at a time, so a call's datagrams queue
    up, and loss stops them."""
    programs: ClassVar[tuple[Program, ...]] = (
        *(Program(name, apt="iodine") for name in _PROGRAMS),
        Program("ip", apt="iproute2"),
    )

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Run a server on DNS's port, the only one that its clients know."""
        device, args = f"dns{host.free_port()}", {"password": host.random.randbytes(8).hex()}
        command = f"iodined -f -c -d {device} -P {args['password']} -l {listen.host} -m 1400"
        command += f" {_SERVER}/24 {_DOMAIN}"
        await host.start_process(command.split(), ready="Listening to dns")
        return await serve_vpn(host, device, _SERVER, listen._replace(port=53), forward, args)

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        """Run a client and wait for its first answer.

        The limit is 14 s, since the client itself gives up and ends after 15 s.
        """
        device, how = f"dns{host.free_port()}", "" if self.raw else "-r"
        command = f"iodine -f -d {device} -P {server.args['password']} {how}".split()
        command += [server.address.host, _DOMAIN]
        await host.start_process(command, ready="transmitting data", ready_timeout_s=14)
        await host.run_process(["ip", "route", "add", "default", "dev", device, "metric", "9"])
        return await connect_vpn(host, device, server)
