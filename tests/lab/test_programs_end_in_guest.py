"""A program that ends after its call is no failure; one that ends before is named as the cause."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
import trio

from testbed.experiment.cell import Cell, TransportChoice
from testbed.experiment.unfolding import cell_id
from testbed.guest.kernel.builder import Kernel
from testbed.record.results import Run
from testbed.run.runner import Done, in_guest, run_cells
from tests.lab.conftest import short_cell

pytestmark = pytest.mark.guest
CPUS = sorted(os.sched_getaffinity(0))

TRANSPORT = '''
import trio
from testbed.transport.interface import Address, ServerInfo, TransportError

UNTIL_EOF = "import sys; sys.stdin.buffer.read()"
PYTHON = ["/usr/bin/python3", "-I", "-S", "-c"]


async def read(process):
    """Read what a program says as if there were no end."""
    while True:
        if not await process.stdout.receive_some():
            raise trio.EndOfChannel


class Transport:
    """None, with programs beside it. Unordered."""

    programs = ()

    async def serve(self, host, listen, forward):
        await self.beside_server(host)
        return ServerInfo(forward, {"bridge": host.address})

    async def connect(self, host, server):
        await self.beside_client(host, server)
        return await host.open_udp(server.address)

    async def beside_server(self, host):
        """Start nothing."""

    async def beside_client(self, host, server):
        """Start nothing."""
'''
WAITS_FOR_ITS_CLIENT = (
    "import socket; server = socket.create_server(('', 7777)); print(flush=True); "
    "client, _ = server.accept(); client.recv(1)"
)
KEPT = {
    # What reads from a program finds its end, since the cell ends it.
    "reader": """
    async def beside_client(self, host, server):
        process = await host.start_process([*PYTHON, UNTIL_EOF])
        host.start_task(lambda: read(process))
""",
    "reader among others": """
    async def beside_client(self, host, server):
        process = await host.start_process([*PYTHON, UNTIL_EOF])

        async def several():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read, process)
                nursery.start_soon(trio.sleep_forever)

        host.start_task(several)
""",
    # A connection's handler finds the end of the program that opened it.
    "handler": """
    async def beside_client(self, host, server):
        async def handler(stream):
            if not await stream.receive_some():
                raise trio.EndOfChannel
        place = await host.serve_tcp(0, handler)
        says = f"import socket, sys; s = socket.create_connection({tuple(place)}); "
        await host.start_process([*PYTHON, says + "sys.stdin.buffer.read()"])
""",
    # A program on another node ends since this one has.
    "server follows its client": f"""
    async def beside_server(self, host):
        process = await host.start_process([*PYTHON, {WAITS_FOR_ITS_CLIENT!r}])
        await process.stdout.receive_some()

    async def beside_client(self, host, server):
        says = "import socket, sys; s = socket.create_connection((sys.argv[1], 7777)); "
        says += "sys.stdin.buffer.read()"
        await host.start_process([*PYTHON, says, server.args["bridge"]])
""",
}
NO_CALL = {
    # It gives up, and its program ends while the chat goes on.
    "gives up": """
    async def beside_client(self, host, server):
        await host.start_process([*PYTHON, "import time; time.sleep(2)"])
        raise TransportError("not today")
""",
    "ends the stream": """
    async def beside_client(self, host, server):
        raise trio.EndOfChannel
""",
    "breaks the stream": """
    async def beside_client(self, host, server):
        raise trio.BrokenResourceError("a cable was cut")
""",
}
REASONS = {
    "gives up": "transport: not today",
    "ends the stream": "transport: EndOfChannel while it connected",
    "breaks the stream": "transport: BrokenResourceError while it connected: a cable was cut",
}
DIES = "import sys, time; time.sleep(3); sys.stderr.write('out of ink'); sys.exit(7)"
FAILED = {
    "dies under its reader": f"""
    async def beside_client(self, host, server):
        process = await host.start_process([*PYTHON, {DIES!r}])
        host.start_task(lambda: read(process))
""",
}


def cell(title: str, methods: str) -> Cell:
    choice = TransportChoice("beside", source=TRANSPORT + methods, title=title)
    return replace(short_cell("max", "direct", "open", duration_s=4), transport=choice)


def test_only_a_program_that_ends_before_the_call_does_fails_it(kernel: Kernel, run: Run) -> None:
    plans = {
        title: cell(title, methods) for title, methods in {**KEPT, **NO_CALL, **FAILED}.items()
    }
    ended: list[Done] = []
    trio.run(run_cells, run, list(plans.values()), in_guest(kernel), CPUS, ended.append)
    by_name = {done.cell_id: done for done in ended}
    found = {title: by_name[cell_id(cell)] for title, cell in plans.items()}
    for title in (*KEPT, *NO_CALL):
        assert found[title].result is not None, (title, found[title].failure)
    for title in KEPT:
        result = found[title].result
        assert result is not None
        assert result.record.verdict.label == "good"
    for title, reason in REASONS.items():
        result = found[title].result
        assert result is not None
        assert result.record.observation.call.reason == reason
    for title in FAILED:
        assert found[title].result is None
        words = "ended with status 7; its log ends: out of ink"
        assert words in found[title].failure, found[title].failure
