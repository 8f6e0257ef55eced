"""What tests on this machine's loopback share: a host to use, and a server that echoes."""

from collections.abc import Awaitable, Callable

import trio

from testbed.transport.interface import Address
from testbed.transport.loopback import LoopbackHost


def with_host(use: Callable[[LoopbackHost], Awaitable[None]], *, timeout_s: float = 10) -> None:
    """Use a host; TooSlowError: it took longer than `timeout_s`, so something hangs."""

    async def main() -> None:
        with trio.fail_after(timeout_s):
            async with LoopbackHost() as host:
                await use(host)

    trio.run(main)


async def serve_udp_echo(host: LoopbackHost) -> Address:
    echo = trio.socket.socket(type=trio.socket.SOCK_DGRAM)
    await echo.bind((host.address, 0))

    async def answer() -> None:
        with echo:
            while True:
                datagram, sender = await echo.recvfrom(0xFFFF)
                await echo.sendto(datagram, sender)

    host.start_task(answer)
    return Address(*echo.getsockname())
