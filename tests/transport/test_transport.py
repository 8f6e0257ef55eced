"""The public interface of transports, and the loopback host on which they can be tried."""

import ast
import os
import sys
from dataclasses import dataclass

import pytest
import trio

from testbed.transport.interface import (
    MAX_DATAGRAM_BYTES,
    Address,
    Host,
    ServerInfo,
    Transport,
)
from testbed.transport.loopback import LoopbackHost
from tests.loopback import serve_udp_echo, with_host
from transports import direct, obfs4


@pytest.mark.parametrize("transport", [direct.Transport(), obfs4.Transport()])
def test_a_transport_end_to_end(transport: Transport) -> None:
    async def use(host: LoopbackHost) -> None:
        relay = await serve_udp_echo(host)
        async with LoopbackHost("caller") as caller:
            server = await transport.serve(host, Address(host.address, 0), relay)
            channel = await transport.connect(caller, server)
            async with channel:
                for size in (0, 1, MAX_DATAGRAM_BYTES):
                    await channel.send(bytes(size))
                    assert await channel.receive() == bytes(size)

    with_host(use)


def test_a_class_without_the_methods_is_no_transport() -> None:
    @dataclass(frozen=True)
    class Half:
        programs = ()

        async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo: ...  # type: ignore[empty-body]

    assert isinstance(direct.Transport(), Transport)
    assert not isinstance(Half(), Transport)


def test_an_address_reads_as_usual() -> None:
    assert str(Address("192.0.2.1", 443)) == "192.0.2.1:443"


def test_the_loopback_host_reports_a_failing_task() -> None:
    async def use(host: LoopbackHost) -> None:
        async def fail() -> None:
            raise LookupError("the task's own")

        host.start_task(fail)
        await trio.sleep_forever()

    with pytest.raises(LookupError, match="the task's own"):
        with_host(use)


def test_the_loopback_host_keeps_an_error_of_its_user() -> None:
    async def use(host: LoopbackHost) -> None:
        del host
        raise LookupError("the user's own")

    with pytest.raises(LookupError, match="the user's own"):
        with_host(use)


def test_the_loopback_host_gives_a_program_its_environment_and_no_more() -> None:
    async def use(host: LoopbackHost) -> None:
        show = "import os, sys; print(sorted(os.environ.items()), flush=True); sys.stdin.read()"
        argv = [sys.executable, "-I", "-S", "-c", show]
        process = await host.start_process(argv, env={"LC_ALL": "C", "MINE": "1"})
        said = b""
        while not said.endswith(b"\n"):
            said += await process.stdout.receive_some()
        environment = dict(ast.literal_eval(said.decode()))
        assert environment == {
            "LC_ALL": "C",
            "MINE": "1",
            "PATH": os.environ["PATH"],
            "HOME": str(host.state_dir),
        }

    with_host(use)


def test_the_loopback_hosts_udp_outlives_a_refusal() -> None:
    async def use(host: LoopbackHost) -> None:
        closed = trio.socket.socket(type=trio.socket.SOCK_DGRAM)
        await closed.bind((host.address, 0))
        nobody = Address(*closed.getsockname())
        closed.close()
        async with await host.open_udp(nobody) as channel:
            for _ in range(3):
                await channel.send(b"anyone?")
            with trio.move_on_after(0.05):
                await channel.receive()

    with_host(use)
