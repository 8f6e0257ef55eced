"""Finds out how a NAT behaves, from inside and outside, with plain UDP sockets.

This program runs in a guest, on the network of calls. The caller's node is inside; `relay` and
`bridge` are two addresses outside, the first with two ports. It reads `nat.pickle` from the job's
folder, and leaves `seen.json` there, a `Seen`. The tests are those of RFC 5780, 4.3 and 4.4.
"""

from __future__ import annotations

import json
import pickle
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

import trio

from testbed.lab.net.clock import LabClock
from testbed.lab.net.network import LabNetwork
from testbed.tools.calibration.nat_experiment import SEEN_FILE, TASK_FILE, NatTask, Seen

_TRAVEL_S = 0.5
"""Longer than a packet takes to the other end."""
_PORTS = (3478, 3479)
Address = tuple[str, int]


class _Ends:
    """The sockets of the people inside and outside."""

    def __init__(self, network: LabNetwork) -> None:
        self._network = network
        self._next_port = 40_000
        self.outside = [
            self._socket(name, port)
            for name, port in (("relay", _PORTS[0]), ("relay", _PORTS[1]), ("bridge", _PORTS[0]))
        ]
        """One that is addressed, another port of the same address, and another address."""

    def inside(self) -> socket.socket:
        """Open a port inside that nobody has used."""
        self._next_port += 1
        return self._socket("caller", self._next_port)

    def _socket(self, node: str, port: int) -> socket.socket:
        with self._network[node].namespace.entered():
            opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        opened.setblocking(False)
        opened.bind((self._network[node].address, port))
        return opened


async def _sent(source: socket.socket, to: Address, at: socket.socket) -> Address | None:
    """Send a datagram; return where from it arrives at a socket, or None."""
    source.sendto(b"?", to)
    await trio.sleep(_TRAVEL_S)
    try:
        _, origin = at.recvfrom(100)
    except (BlockingIOError, ConnectionRefusedError):
        return None
    found: Address = origin
    return found


async def _mapping(ends: _Ends) -> list[Address | None]:
    """Address everybody outside from one port; return what each sees as its origin."""
    inside = ends.inside()
    return [await _sent(inside, each.getsockname(), each) for each in ends.outside]


async def _answers(ends: _Ends) -> list[bool]:
    """Address the first one outside; return who gets an answer in by the port that it saw."""
    inside, addressed = ends.inside(), ends.outside[0]
    origin = await _sent(inside, addressed.getsockname(), addressed)
    if origin is None:
        return []
    return [await _sent(each, origin, inside) is not None for each in ends.outside]


async def _after(ends: _Ends, silent_s: float) -> bool:
    """Return whether an answer still comes in after a silence."""
    inside, addressed = ends.inside(), ends.outside[0]
    origin = await _sent(inside, addressed.getsockname(), addressed)
    await trio.sleep(silent_s - _TRAVEL_S)
    return origin is not None and await _sent(addressed, origin, inside) is not None


async def _uninvited(ends: _Ends) -> bool:
    """Return whether a packet to the address inside comes in, which nobody has sent."""
    inside = ends.inside()
    return await _sent(ends.outside[0], inside.getsockname(), inside) is not None


async def look(task: NatTask) -> Seen:
    """Find out how a network's NAT behaves."""
    with LabNetwork(task.network) as network:
        await network.settled()
        ends = _Ends(network)
        lasting: Mapping[float, bool] = {each: await _after(ends, each) for each in task.silences_s}
        return Seen(
            mapping=await _mapping(ends),
            answers=await _answers(ends),
            uninvited=await _uninvited(ends),
            lasting=[(silent_s, came) for silent_s, came in lasting.items()],
        )


def main(folder: str) -> int:
    """Carry out the task in a job's folder; return the exit status."""
    job = Path(folder)
    with (job / TASK_FILE).open("rb") as file:
        task: NatTask = pickle.load(file)
    seen = trio.run(look, task, clock=LabClock())
    (job / SEEN_FILE).write_text(json.dumps(seen._asdict()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
