"""Frames handed over in bursts, and passed on by the kernel, fare as they do one by one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from testbed.experiment.cell import Cell, TransportChoice
from testbed.guest.kernel.builder import Kernel
from testbed.record.results import RecordedCell, Run
from tests.lab.conftest import quick, short_cell
from tests.lab.test_cells_in_guest import conducted

pytestmark = pytest.mark.guest
OURS = '''
from dataclasses import dataclass

import trio

from testbed.transport.channels import forward_tcp
from testbed.transport.interface import ServerInfo
from testbed.transport.tcp_datagrams import TcpDatagrams


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
    """The messenger's own UDP, or datagrams framed over plain TCP. Unordered."""

    over: str = "udp"
    timed: bool = False

    programs = ()

    async def serve(self, host, listen, forward):
        if self.over == "udp":
            return ServerInfo(forward)
        return ServerInfo(
            await host.serve_tcp(listen.port, lambda stream: forward_tcp(host, stream, forward))
        )

    async def connect(self, host, server):
        if self.over == "udp":
            channel = await host.open_udp(server.address)
        else:
            channel = TcpDatagrams(await host.open_tcp(server.address))
        return channel if self.timed else OneByOne(channel)
'''
"""Without `timed` it hides its channel's times, so that each frame is a wake-up."""
LATEST_S = 0.11e-3
"""By how much the two may differ: what a wake-up and the syscalls of others in it take."""

MOST_CHANGED_PLACES = 12
"""Six messages and their echoes."""


def arrivals(run: Run, result: RecordedCell, direction: str) -> dict[int, float]:
    """By frame that arrived: how long it took (s)."""
    frames = run.frames(result)[direction]
    return {index: at - frames.sent_s[index] for index, at in frames.received}


def both_forms(
    kernel: Kernel, run: Run, cell: Cell, over: str = "udp"
) -> tuple[RecordedCell, RecordedCell]:
    """A cell with frames in bursts, and with frames one by one."""
    timed = cell.transport
    if over != "udp":
        timed = TransportChoice("bursts", {"over": over, "timed": True}, source=OURS)
    plain = TransportChoice("onebyone", {"over": over}, source=OURS)
    bursts, one_by_one = conducted(
        kernel, run, *(replace(cell, transport=transport) for transport in (timed, plain))
    )
    return bursts, one_by_one


@pytest.mark.parametrize(
    ("messenger", "over"),
    [
        ("whatsapp", "udp"),
        ("telegram-model", "tcp"),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in (("telegram-model", "udp"), ("max", "udp"), ("whatsapp", "tcp"))
        ),
    ],
)
def test_bursts_take_as_long_as_frames_one_by_one(
    kernel: Kernel, run: Run, messenger: str, over: str
) -> None:
    cell = short_cell(messenger, "direct", "open")
    names = ("access", "domestic", "backbone", "hosting", "callee_access")
    still = {name: replace(getattr(cell.links, name), jitter_ms=0.0) for name in names}
    forms = both_forms(kernel, run, replace(cell, links=replace(cell.links, **still)), over)
    for direction in ("up", "down"):
        first, second = (arrivals(run, form, direction) for form in forms)
        assert first.keys() == second.keys()
        assert len(first) == len(run.frames(forms[0])[direction].sent_s)
        assert max(abs(first[k] - second[k]) for k in first) < LATEST_S


@pytest.mark.parametrize("messenger", quick(["whatsapp", "telegram-model"], "whatsapp"))
def test_chance_hits_the_same_frames_in_bursts_and_one_by_one(
    kernel: Kernel, run: Run, messenger: str
) -> None:
    """With loss and jitter, drawn in the order in which packets come to a link.

    A frame that goes one by one leaves up to a millisecond late, so it may change places with a
    packet of the chat, and each then gets the other's jitter. (MAX's set-up asks each 50 ms, which
    is about a round trip here, so how many packets it has may differ. Feedback of a sender that
    adapts takes the draws of other packets, too, so here it does not.)
    """
    cell = short_cell(messenger, "direct", "open")
    evidence = {
        k: v for k, v in cell.messenger.evidence.items() if k not in ("adaptation", "probes")
    }
    plain = replace(cell.messenger, adaptation=None, probes=(), evidence=evidence)
    cell = replace(cell, messenger=plain)
    lossy = replace(cell.links.backbone, loss=0.1)
    forms = both_forms(kernel, run, replace(cell, links=replace(cell.links, backbone=lossy)))
    for direction in ("up", "down"):
        first, second = (arrivals(run, form, direction) for form in forms)
        sent = len(run.frames(forms[0])[direction].sent_s)
        assert 0.8 * sent < len(first) < sent
        assert first.keys() == second.keys()
        differing = [k for k in first if abs(first[k] - second[k]) >= LATEST_S]
        assert len(differing) <= MOST_CHANGED_PLACES


def test_a_report_is_heeded_at_most_a_burst_later_than_one_by_one(kernel: Kernel, run: Run) -> None:
    cell = short_cell("telegram-model", "direct", "open")
    adaptation = cell.messenger.adaptation
    assert adaptation is not None
    lossy = replace(cell.links.backbone, loss=0.1)
    forms = both_forms(kernel, run, replace(cell, links=replace(cell.links, backbone=lossy)))
    begins_s = []
    for form in forms:
        up = run.frames(form)["up"]
        begins_s.append(up.sent_s[next(k for k, v in enumerate(up.variants) if v)] - up.sent_s[0])
    in_bursts_s, one_by_one_s = begins_s
    assert -0.01 <= in_bursts_s - one_by_one_s <= adaptation.burst_s + 0.11
