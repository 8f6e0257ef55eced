"""mytunnel carries datagrams on this machine, and keeps the rules of transports in a guest."""

import subprocess
import sys

import trio
from call_testbed_mytunnel import Transport

from testbed.transport.interface import Address
from testbed.transport.loopback import LoopbackHost


def test_a_datagram_comes_to_the_relay_and_the_answer_back() -> None:
    async def main() -> None:
        async with LoopbackHost("bridge") as bridge, LoopbackHost("caller") as caller:
            relay = await bridge.serve_udp(Address(bridge.address, 0))
            transport = Transport()
            server = await transport.serve(bridge, Address(bridge.address, 0), relay.address)
            async with await transport.connect(caller, server) as channel:
                with trio.fail_after(10):
                    await channel.send(b"question")
                    question, source = await relay.receive()
                    assert question == b"question"
                    await relay.send(b"answer", source)
                    assert await channel.receive() == b"answer"

    trio.run(main)


def test_it_keeps_the_rules_of_transports(tmp_path) -> None:
    command = [sys.executable, "-m", "testbed", "check", "transport", "mytunnel"]
    done = subprocess.run([*command, "--out", tmp_path / "logs"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
