"""Snowflake: WebRTC to a volunteer's proxy, which a broker finds and which relays to the server.

Real and unmodified are Debian's client and proxy. The server is ours in Go, on their own library
(`testbed/transport/go/snowflake-server`), and so are the broker and the STUN server below, with the messages
and time limits of broker 2.5.1. Client and broker meet by HTTPS behind a front. Proxy, server and
STUN are on the bridge's node, and no NAT is on the way: clients announce their own addresses.
"""

import json
import ssl
from collections import deque
from dataclasses import dataclass, field
from typing import Any, ClassVar

import trio

from testbed.transport import pt
from testbed.transport.http import Answer, Request, answer_requests
from testbed.transport.interface import (
    READY_TIMEOUT_S,
    Address,
    Host,
    Program,
    ServerInfo,
    TransportError,
)
from testbed.transport.tunnel import at_home, greeted, serve_streams

_NAME = "broker.bridge.example"
_STUN_PORT = 3478
_PATIENCE_S = 10.0
"""How long the broker keeps a proxy that waits for a client, and a client that waits for it."""


@dataclass(frozen=True)
class Transport:
    """Snowflake, datagrams framed over KCP over WebRTC data channels. Reliable and in order."""

    programs: ClassVar[tuple[Program, ...]] = (
        Program("snowflake-client", apt="snowflake-client"),
        Program("snowflake-proxy", apt="snowflake-proxy"),
        Program("snowflake-server", go=True),
    )

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Run a server, a broker on `listen`, a STUN server, and a proxy that awaits a client."""
        orport = await serve_streams(host, forward)
        place = Address(host.address, host.free_port())
        server = await pt.start_server(
            host, ["snowflake-server"], "snowflake", listen=place, orport=orport
        )
        broker = _Broker()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(host.tls.certificate, host.tls.key)

        async def serve_client(stream: trio.abc.Stream) -> None:
            tls = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
            await answer_requests(tls, broker.answer)

        address = await host.serve_tcp(listen.port, serve_client)
        inside = await host.serve_tcp(0, lambda stream: answer_requests(stream, broker.answer))
        stun = await _serve_stun(host)
        urls = ["-broker", f"http://{inside}/", "-relay", f"ws://{server.address}/"]
        local = ["-stun", stun, "-keep-local-addresses", "-allow-non-tls-relay"]
        await host.start_process(["snowflake-proxy", *urls, *local])
        with trio.move_on_after(READY_TIMEOUT_S) as limit:
            await broker.has_proxy.wait()
        if limit.cancelled_caught:
            raise TransportError("snowflake-proxy did not come to the broker: see its log")
        front = f"{host.tls.server_name}:{address.port}"
        return ServerInfo(address, {"url": f"https://{_NAME}/", "front": front, "ice": stun})

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        """Run a client, which trusts the lab's authority, and wait for the server's greeting."""
        log = host.state_dir / f"snowflake-client-{host.free_port()}.log"
        names = {host.tls.server_name: server.address.host}
        env = {"SSL_CERT_FILE": str(host.tls.authority)}
        command = [at_home(host, "snowflake-client", names=names, env=env)]
        command += ["-keep-local-addresses", "-log", str(log)]
        client = await pt.start_client(host, command, "snowflake")
        return await greeted(host, await client.open_stream(server))


@dataclass
class _Poll:
    """A proxy's question for a client."""

    offer: str = ""
    nat: str = ""
    matched: trio.Event = field(default_factory=trio.Event)
    answer: str = ""
    answered: trio.Event = field(default_factory=trio.Event)


class _Broker:
    def __init__(self) -> None:
        self.has_proxy = trio.Event()
        self._waiting = deque[_Poll]()
        self._matched: dict[str, _Poll] = {}

    async def answer(self, request: Request) -> Answer:
        """Answer what clients and proxies send (snowflake's common/messages, versions 1.x)."""
        ways = {"/proxy": self._on_proxy, "/answer": self._on_answer, "/client": self._on_client}
        way = ways.get(request.path)
        try:
            asked = json.loads(request.body[request.body.find(b"{") :])
            return Answer(200, json.dumps(await way(asked)).encode()) if way else Answer(404)
        except (ValueError, KeyError):
            return Answer(400)

    async def _on_proxy(self, asked: dict[str, Any]) -> dict[str, str]:
        poll = self._matched[asked["Sid"]] = _Poll()
        self._waiting.append(poll)
        self.has_proxy.set()
        with trio.move_on_after(_PATIENCE_S):
            await poll.matched.wait()
            return {"Status": "client match", "Offer": poll.offer, "NAT": poll.nat, "RelayURL": ""}
        self._waiting.remove(poll)
        del self._matched[asked["Sid"]]
        return {"Status": "no match"}

    async def _on_client(self, asked: dict[str, Any]) -> dict[str, str]:
        if not self._waiting:
            return {"error": "no snowflake proxies currently available"}
        poll = self._waiting.popleft()
        poll.offer, poll.nat = asked["offer"], asked.get("nat", "unknown")
        poll.matched.set()
        with trio.move_on_after(_PATIENCE_S):
            await poll.answered.wait()
            return {"answer": poll.answer}
        return {"error": "timed out waiting for answer!"}

    async def _on_answer(self, asked: dict[str, Any]) -> dict[str, str]:
        poll = self._matched.pop(asked["Sid"], None)
        if poll is None:
            return {"Status": "client gone"}
        poll.answer = asked["Answer"]
        poll.answered.set()
        return {"Status": "success"}


async def _serve_stun(host: Host) -> str:
    """Tell who asks what its address looks like from here (RFC 8489, a Binding); give the URL."""
    server = await host.serve_udp(Address(host.address, _STUN_PORT))

    async def answer() -> None:
        while True:
            asked, (address, port) = await server.receive()
            if asked[:2] != b"\x00\x01" or len(asked) < 20:
                continue
            cookie = asked[4:8]
            seen = port.to_bytes(2, "big"), bytes(map(int, address.split(".")))
            masked = b"".join(bytes(a ^ b for a, b in zip(s, cookie, strict=False)) for s in seen)
            mapped = b"\x00\x20\x00\x08\x00\x01" + masked  # XOR-MAPPED-ADDRESS, IPv4
            answer = b"\x01\x01" + len(mapped).to_bytes(2, "big") + asked[4:20] + mapped
            await server.send(answer, Address(address, port))

    host.start_task(answer)
    return f"stun:{server.address}"
