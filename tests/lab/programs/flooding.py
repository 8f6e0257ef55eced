"""Sends more through a transport than it may carry, and writes down at which rate it came out."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import trio

from testbed.experiment.loading import make_transport
from testbed.lab.net.clock import LabClock
from testbed.tools.conformance.sessions import Bench, Session

CHOICE, FOUND = "choice.pickle", "found.json"
BYTES, EVERY_S = 1100, 0.002
"""What is sent: 4.4 Mbit/s."""
LOSS = 0.05
WARM_UP_S, MEASURED_S = 2.0, 2.0


async def flood(session: Session) -> float:
    """Return the rate (Mbit/s) at which datagrams reached the relay after a while."""
    count = 0
    async with trio.open_nursery() as nursery:

        async def send() -> None:
            while True:
                await session.channel.send(bytes(BYTES))
                await trio.sleep(EVERY_S)

        async def receive() -> None:
            nonlocal count
            while True:
                await session.relay.receive()
                count += 1

        nursery.start_soon(send)
        nursery.start_soon(receive)
        await trio.sleep(WARM_UP_S)
        before = count
        await trio.sleep(MEASURED_S)
        nursery.cancel_scope.cancel()
    return (count - before) * BYTES * 8 / MEASURED_S / 1e6


def main(folder: str) -> int:
    """Flood the transport in a job's folder."""
    job = Path(folder)
    transport = make_transport(pickle.loads((job / CHOICE).read_bytes()))

    async def run() -> None:
        async with Bench.opened(transport, job) as bench, bench.session() as session:
            with bench.impaired(loss=LOSS):
                (job / FOUND).write_text(json.dumps(await flood(session)))

    trio.run(run, clock=LabClock())
    return 0
