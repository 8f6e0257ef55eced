"""A transport through another one: what is sent arrives, by whatever carries it."""

from __future__ import annotations

import pytest
import trio

from testbed.experiment.choosing import load_transport, transport_choice
from testbed.experiment.explanations import ScenarioError
from testbed.experiment.loading import make_transport
from testbed.transport.interface import Address
from testbed.transport.loopback import LoopbackHost
from tests.loopback import serve_udp_echo, with_host


@pytest.mark.parametrize(
    "name",
    [
        "duplicate through direct",
        "duplicate through duplicate",
        "duplicate {through = fec {inner = duplicate}}",
        "fec {inner = duplicate through duplicate}",
    ],
)
def test_datagrams_arrive_and_are_answered(name: str) -> None:
    async def use(host: LoopbackHost) -> None:
        transport = make_transport(transport_choice(name))
        forward = await serve_udp_echo(host)
        listen = Address(host.address, host.free_port())
        server = await transport.serve(host, listen, forward)
        for _ in range(2):
            async with await transport.connect(host, server) as channel:
                for size in (1, 1200):
                    await channel.send(bytes(size))
                    with trio.fail_after(5):
                        assert await channel.receive() == bytes(size)

    with_host(use)


def test_the_port_that_is_served_is_the_carriers() -> None:
    async def use(host: LoopbackHost) -> None:
        transport = make_transport(transport_choice("duplicate through duplicate"))
        listen = Address(host.address, host.free_port())
        server = await transport.serve(host, listen, await serve_udp_echo(host))
        assert server.address == listen

    with_host(use)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("obfs4 through turn", r"obfs4 sends more than UDP datagrams, so nothing can carry it"),
        ("openvpn {over = tcp} through turn", r"openvpn sends more than UDP"),
        ("wireguard through nosuch", r"no transport 'nosuch'"),
        ("wireguard through turn {over = sctp}", r"turn: over: Input should be"),
        ("wireguard {through = 3}", r"wireguard: through: a transport's name"),
    ],
)
def test_what_cannot_be_carried_is_refused_with_the_reason(name: str, said: str) -> None:
    with pytest.raises(ScenarioError, match=said):
        load_transport(transport_choice(name))
