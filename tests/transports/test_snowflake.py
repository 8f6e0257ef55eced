"""Snowflake's broker and STUN server, as its client and proxy see them."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
import trio.testing

from testbed.transport.http_server import Answer, Request
from testbed.transport.interface import Address
from testbed.transport.loopback import LoopbackHost
from testbed.transport.stun_server import serve_stun
from transports.snowflake import _Broker

POLL = b'{"Sid": "s", "Version": "1.3", "Type": "standalone", "NAT": "unknown", "Clients": 0}'
ASK = b'1.0\n{"offer": "an offer", "nat": "restricted", "fingerprint": ""}'
ANSWER = b'{"Sid": "s", "Version": "1.3", "Answer": "an answer"}'


async def said(broker: _Broker, path: str, body: bytes) -> dict[str, Any]:
    status, answer = await broker.answer(Request("POST", path, {}, body))
    assert status == 200
    content: dict[str, Any] = json.loads(answer)
    return content


def run(*steps: tuple[str, bytes]) -> list[dict[str, Any]]:
    """Ask a broker one thing a second, each by a task of its own; give what was said to each."""
    heard: list[dict[str, Any]] = [{} for _ in steps]

    async def main() -> None:
        broker = _Broker()

        async def ask(k: int, path: str, body: bytes) -> None:
            await trio.sleep(k)
            heard[k] = await said(broker, path, body)

        async with trio.open_nursery() as nursery:
            for k, step in enumerate(steps):
                nursery.start_soon(ask, k, *step)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return heard


def test_the_broker_brings_a_client_and_a_waiting_proxy_together() -> None:
    proxy, client, answered = run(("/proxy", POLL), ("/client", ASK), ("/answer", ANSWER))
    assert (proxy["Status"], proxy["Offer"], proxy["NAT"]) == (
        "client match",
        "an offer",
        "restricted",
    )
    assert client == {"answer": "an answer"}
    assert answered == {"Status": "success"}


def test_a_client_that_meets_no_proxy_gets_an_error() -> None:
    assert run(("/client", ASK))[0]["error"] == "no snowflake proxies currently available"
    assert run(("/proxy", POLL))[0] == {"Status": "no match"}
    assert run(("/answer", ANSWER))[0] == {"Status": "client gone"}
    assert "timed out" in run(("/proxy", POLL), ("/client", ASK))[1]["error"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/debug", b"{}", 404),
        ("/proxy", b"no JSON", 400),
        ("/proxy", b'{"Version": "1.3"}', 400),
        ("/answer", b"{}", 400),
    ],
)
def test_what_makes_no_sense_is_refused(path: str, body: bytes, status: int) -> None:
    async def main() -> Answer:
        return await _Broker().answer(Request("POST", path, {}, body))

    assert trio.run(main).status == status


def test_stun_returns_an_address() -> None:
    async def main() -> None:
        with trio.fail_after(5):
            async with LoopbackHost() as host:
                server = await serve_stun(host, host.free_port())
                with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as udp:
                    await udp.connect(server)
                    number = b"\x21\x12\xa4\x42" + bytes(range(12))
                    await udp.send(b"no question")
                    await udp.send(b"\x00\x01\x00\x00" + number)
                    heard = await udp.recv(100)
                    own = Address(*udp.getsockname())
                assert heard[:20] == b"\x01\x01\x00\x0c" + number
                kind, length, family = heard[20:22], heard[22:24], heard[24:26]
                assert (kind, length, family) == (b"\x00\x20", b"\x00\x08", b"\x00\x01")
                assert int.from_bytes(heard[26:28], "big") ^ 0x2112 == own.port
                masked = int.from_bytes(heard[28:32], "big") ^ 0x2112A442
                assert masked.to_bytes(4, "big") == bytes(map(int, own.host.split(".")))

    trio.run(main)
