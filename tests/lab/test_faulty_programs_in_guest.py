"""A crash, a hang and a flood of a transport's program fail its cell with a reason, no other."""

from __future__ import annotations

import os
import re
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

SERVER = r"""
import os, sys
name, at = os.environ["TOR_PT_SERVER_BINDADDR"].split("-")
print("VERSION 1\nSMETHOD", name, at, "\nSMETHODS DONE", flush=True)
sys.stdin.buffer.read()
"""
PRELUDE = r"""
import os, socket, sys, time
proxy = socket.create_server(("127.0.0.1", 0))
def say(*lines):
    print(*lines, sep="\n", flush=True)
def ready():
    say("VERSION 1", "CMETHOD fake socks5 127.0.0.1:%d" % proxy.getsockname()[1], "CMETHODS DONE")
def grant():
    stream, _ = proxy.accept()
    stream.recv(3); stream.sendall(b"\5\0")
    stream.recv(10); stream.sendall(bytes((5, 0, 0, 1)) + bytes(6))
    return stream
"""
CLIENTS = {
    "crash": 'ready(); s = grant(); time.sleep(1.5); print("ouch", file=sys.stderr); sys.exit(3)',
    "silence": "sys.stdin.buffer.read()",
    "deaf": "ready(); sys.stdin.buffer.read()",
    "chatter": 'while True: say("chatter " * 4000)',
    "flood": 'ready(); stream = grant()\nwhile True: os.write(1, b"flood " * 10000)',
    "logging": 'ready(); stream = grant()\nwhile True: os.write(2, b"logging " * 100000)',
}
FAILED = {
    "crash": r"python3(\.\d+)? on caller ended with status 3; its log ends: ouch",
    "chatter": r"\(client of fake\) floods its output: \d+ bytes\n  it said: chatter",
    "flood": r"\(client of fake\) floods its output: \d+ bytes",
    "logging": r"on caller ended with status \d+ when its log was full.*.*logging$",
}
"""What a cell says that cannot go on. The others are calls that could not be made, and results."""
UNCONNECTED = {
    "silence": r"transport: .*\(client of fake\) was not ready within 25 s",
    "deaf": r"\(client of fake\) opened no stream to 10\.2\S+: nothing was decided within 25 s",
}


def faulty(kind: str) -> Cell:
    python = ("/usr/bin/python3", "-I", "-S", "-c")
    parameters = {
        "name": "fake",
        "server": (*python, SERVER),
        "client": (*python, PRELUDE + CLIENTS[kind]),
    }
    choice = TransportChoice("pt", parameters, title=kind)
    return replace(short_cell("max", "direct", "open", duration_s=5), transport=choice)


def test_each_fault_has_its_reason_and_the_run_goes_on(kernel: Kernel, run: Run) -> None:
    good = short_cell("max", "direct", "open", duration_s=1)
    plan = [*map(faulty, CLIENTS), good]
    ended: list[Done] = []
    trio.run(run_cells, run, plan, in_guest(kernel), CPUS, ended.append)
    by_name = {done.cell_id: done for done in ended}
    assert by_name[cell_id(good)].result is not None
    for kind, said in FAILED.items():
        done = by_name[cell_id(faulty(kind))]
        assert done.result is None, kind
        assert_matches(done.failure, said)
        logs = list((run.folder / "failed" / done.cell_id).rglob("python3*-0.log"))
        assert logs, kind
    for kind, said in UNCONNECTED.items():
        result = by_name[cell_id(faulty(kind))].result
        assert result is not None, (kind, by_name[cell_id(faulty(kind))].failure)
        assert result.record.verdict.label == "no call"
        assert_matches(result.record.observation.call.reason, said)


def assert_matches(text: str, pattern: str) -> None:
    assert re.search(pattern, text, re.DOTALL), text
