"""Frames handed over in bursts, and passed on by the kernel, fare as they do one by one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from testbed.cell import TransportChoice
from testbed.kernel.build import Kernel
from testbed.results import CellResult, Run, frames_of
from tests.lab.conftest import short_cell
from tests.lab.test_cells_in_guest import conducted

pytestmark = pytest.mark.guest
ONE_BY_ONE = '''
from dataclasses import dataclass

import trio

from testbed.transport import ServerInfo


class OneByOne(trio.abc.Channel):
    def __init__(self, channel):
        self._channel = channel

    async def send(self, value):
        await self._channel.send(value)

    async def receive(self):
        return await self._channel.receive()

    async def aclose(self):
        await self._channel.aclose()


@dataclass(frozen=True)
class Transport:
    """Nothing but the messenger's own UDP, without times. Unordered."""

    programs = ()

    async def serve(self, host, listen, forward):
        return ServerInfo(forward)

    async def connect(self, host, server):
        return OneByOne(await host.open_udp(server.address))
'''
"""A transport that hides the times of `direct`'s channel, so that each frame is a wake-up."""
LATEST_S = 0.11e-3
"""By how much the two may differ: what a wake-up and the syscalls of others in it take."""

MOST_CHANGED_PLACES = 12
"""Six messages and their echoes."""


def arrivals(result: CellResult, direction: str) -> dict[int, float]:
    """By frame that arrived: how long it took (s)."""
    frames = frames_of(result)[direction]
    return {index: at - frames.sent_s[index] for index, at in frames.received}


@pytest.mark.parametrize("messenger", ["whatsapp", "telegram-model", "max"])
def test_bursts_fare_as_frames_one_by_one(kernel: Kernel, run: Run, messenger: str) -> None:
    """The same frames are lost, and the others take as long.

    A frame that goes one by one leaves up to a millisecond late, so it may change places with a
    packet of the chat, and each then gets the other's jitter.
    """
    cell = short_cell(messenger, "direct", "open")
    lossy = replace(cell.links.backbone, loss=0.1)
    cell = replace(cell, links=replace(cell.links, backbone=lossy))
    plain = replace(cell, transport=TransportChoice("onebyone", source=ONE_BY_ONE))
    bursts, one_by_one = conducted(kernel, run, cell, plain)
    for direction in ("up", "down"):
        first, second = arrivals(bursts, direction), arrivals(one_by_one, direction)
        sent = len(frames_of(bursts)[direction].sent_s)
        assert 0.8 * sent < len(first) < sent
        assert first.keys() == second.keys()
        differing = [k for k in first if abs(first[k] - second[k]) >= LATEST_S]
        assert len(differing) <= MOST_CHANGED_PLACES
