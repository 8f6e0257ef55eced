"""Run in a guest: sends datagrams across a middlebox that holds each, twice; notes the delays."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from random import Random

import trio

from testbed.censor.actions.delay import Delay
from testbed.censor.censor import Censor
from testbed.censor.match import Match
from testbed.censor.profile import Profile, Rule
from testbed.censor.stack import StackedCensors
from testbed.evidence import Evidence
from testbed.lab.middlebox import Middlebox
from testbed.lab.net.clock import LabClock
from testbed.lab.net.mmsg import stamped_receiver
from testbed.lab.net.network import LabNetwork
from testbed.lab.net.plan import plan_of
from testbed.lab.net.udp import open_socket
from testbed.tools.forwarding import PORT, Across
from testbed.transport.interface import Address

DATAGRAMS = 20
EVERY_S = 0.003
DELAYS_MS = (0.0, 500.0)


async def delays(delay_ms: float) -> list[float]:
    """Return how long each datagram took from end to end (s); many are held at a time."""
    evidence = {key: Evidence("test", "assumed") for key in ("match", "action", "delay_ms")}
    rule = Rule("held", Match(protocol="udp"), Delay(delay_ms=delay_ms), evidence)
    censor = Censor(Profile("test", "test", (rule,)), Random(0))
    sent = []
    with LabNetwork(plan_of(Across())) as network:
        await network.settled()
        box = Middlebox(network["middlebox"], StackedCensors({"": censor}), "middlebox-eth0")
        server_at = Address(network["outside"].address, PORT)
        with network["outside"].namespace.entered():
            server = open_socket(server_at)
        with network["inside"].namespace.entered():
            client = open_socket(Address(network["inside"].address, 0), server_at)
        with server, client, box.attached() as queue:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(box.run, queue)
                for _ in range(DATAGRAMS):
                    await trio.sleep(EVERY_S)
                    sent.append(time.monotonic())
                    client.send(b"held")
                await trio.sleep(2 * max(DELAYS_MS) / 1000)
                nursery.cancel_scope.cancel()
            arrived = stamped_receiver().receive(server)
    return [at - left for left, (at, _) in zip(sent, arrived, strict=True)]


def main(folder: str) -> int:
    """Write down the delays by the box's delay (ms); give the exit status."""
    found = {f"{ms:g}": trio.run(delays, ms, clock=LabClock()) for ms in DELAYS_MS}
    (Path(folder) / "found.json").write_text(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
