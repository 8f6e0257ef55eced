"""On a node's wire there is what the strategy says, and nothing else differs from a direct call."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import trio

from testbed.analysis.censor_view import saw
from testbed.experiment.cell import Cell, TransportChoice
from testbed.experiment.scenario import load_censor
from testbed.experiment.unfolding import cell_id
from testbed.guest.kernel.builder import Kernel
from testbed.record.results import Run
from testbed.run.runner import in_guest, run_cells
from testbed.tools.recognition.capture_file import Capture
from testbed.transport.internet import Segment, parse
from tests.lab.conftest import short_cell
from tests.records import manifest
from tests.transport.desync.told import told

pytestmark = pytest.mark.guest
CPUS = sorted(os.sched_getaffinity(0))
PROXY = Path(__file__).parents[1] / "data" / "evasion" / "splitting_proxy.py"
RELAY = b"\x0a\x02\x03\x02"
PASTED = (
    "--filter-udp=3478 --filter-l7=stun --dpi-desync=fake --dpi-desync-fake-stun=stun.bin "
    "--dpi-desync-repeats=2 --dpi-desync-ttl=3 --dpi-desync-fooling=badsum --dpi-desync-cutoff=n3 "
    "--new --filter-tcp=443 --dpi-desync=fake"
)
"""The second part's fakes have no disguise, so they reach the chat's server."""
WAYS: Mapping[str, TransportChoice] = {
    "direct": TransportChoice("direct"),
    "empty": TransportChoice("desync", title="empty"),
    "pasted": TransportChoice("desync", {"strategy": PASTED}, title="pasted"),
    "proxy": TransportChoice("proxy", {"command": (str(PROXY), "--port=1080")}, title="proxy"),
    "random": TransportChoice(
        "desync",
        {"fake": "random", "fake_bytes": 120, "protocol": "udp", "first": 1, "ends": "both"},
        title="random",
    ),
}


@pytest.fixture(scope="module")
def calls(kernel: Kernel, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Calls by each way under a box that a long packet which cannot be parsed blinds."""
    run = Run(tmp_path_factory.mktemp("evasion") / "run")

    run.begin(manifest(), "", fresh=False)
    plan = [call(choice) for choice in WAYS.values()]
    trio.run(partial(run_cells, pcap="ends"), run, plan, in_guest(kernel), CPUS, lambda done: None)
    return run


def call(choice: TransportChoice) -> Cell:
    cell = short_cell("whatsapp", "direct", "open", duration_s=3)
    return replace(cell, transport=choice, censor=load_censor("stun-first-parsed"))


def sent_by_udp(run: Run, way: str, end: str = "caller") -> list[tuple[bytes, Segment]]:
    """Return the datagrams that left an end of the call."""
    return [each for each in sent(run, way, end) if each[1].tcp is None]


def sent(run: Run, way: str, end: str) -> list[tuple[bytes, Segment]]:
    """Return the packets of UDP and TCP that left an end of the call."""
    captures = run.captures(cell_id(call(WAYS[way])), "ends")
    [path] = [path for path in captures if path.name == f"{end}-end.pcap"]
    found = []
    with Capture(path) as capture:
        for captured in capture:
            segment = parse(captured.data)
            if segment is not None and segment.source != RELAY:
                found.append((captured.data, segment))
    return found


def test_an_empty_strategy_sends_the_bytes_of_a_direct_call(calls: Run) -> None:
    direct, empty = (sent_by_udp(calls, way) for way in ("direct", "empty"))
    assert len(direct) > 100
    assert [segment.payload for _, segment in empty] == [segment.payload for _, segment in direct]
    assert {segment.ttl for _, segment in empty} == {64}


def test_on_the_wire_are_the_packets_of_the_strategy_in_their_order(calls: Run) -> None:
    wire = sent_by_udp(calls, "pasted")
    first_port = wire[0][1].source_port
    flow = [each for each in wire if each[1].source_port == first_port]
    real = flow[2][1]
    fake = "fake 0-20, TTL 3, bad checksum"
    whole = f"real 0-{len(real.payload)}"
    assert told([packet for packet, _ in flow[:3]], real) == [fake, fake, whole]
    real = flow[5][1]
    whole = f"real 0-{len(real.payload)}"
    assert told([packet for packet, _ in flow[3:6]], real) == [fake, fake, whole]
    later = [told([packet], segment) for packet, segment in flow[6:]]
    assert later == [[f"real 0-{len(segment.payload)}"] for _, segment in flow[6:]]


def test_the_callee_abroad_does_the_same_if_it_is_asked_to(calls: Run) -> None:
    for end in ("caller", "callee"):
        fake, first = (segment for _, segment in sent_by_udp(calls, "random", end)[:2])
        assert len(fake.payload) == 120
        assert first.payload == sent_by_udp(calls, "direct", end)[0][1].payload


def test_connections_go_through_a_proxy_of_ones_own_and_datagrams_past_it(calls: Run) -> None:
    first, second = (
        [len(s.payload) for _, s in sent(calls, way, "caller") if s.tcp and s.payload][:2]
        for way in ("direct", "proxy")
    )
    assert first[0] > 100
    assert second == [1, first[0] - 1]
    direct, proxied = (sent_by_udp(calls, way) for way in ("direct", "proxy"))
    assert [segment.payload for _, segment in proxied] == [segment.payload for _, segment in direct]
    assert (
        next(c for c in calls.cells() if c.record.transport == "proxy").record.chat.delivered == 3
    )


def test_what_the_box_no_longer_recognises_is_said(calls: Run) -> None:
    seen = {each.key.transport: each for each in saw(calls.cells())}
    assert (seen["direct"].facts, seen["direct"].prevented) == (("stun",), ())
    assert (seen["random"].facts, seen["random"].prevented) == ((), ("stun",))
    assert seen["random"].verdicts == {"good": 1}
    assert seen["pasted"].facts == ("stun",)


def test_fakes_that_reach_a_server_break_what_it_hears(calls: Run) -> None:
    chats = {cell.record.transport: cell.record.chat for cell in calls.cells()}
    assert {chats[way].delivered for way in ("direct", "empty", "proxy")} == {3}
    assert chats["pasted"].delivered == 0
