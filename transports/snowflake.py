"""Snowflake: WebRTC to a volunteer's proxy, which a broker finds and which relays to the server.

1. The proxy polls the broker and waits for a client.
2. The client posts a WebRTC offer to the broker, by HTTPS with a front's name in the TLS.
3. The broker gives the offer to the proxy, and the proxy's answer to the client.
4. Client and proxy connect by WebRTC; the proxy relays to the server by WebSocket.

Client and proxy are Debian's, unmodified. The server is our own, in Go on Snowflake's library
(`testbed/transport/go/snowflake-server`). The broker below and the STUN server are our own as well,
with the messages and time limits of broker 2.5.1. Proxy, server and STUN server run on the bridge's
node, and there is no NAT: clients announce their own addresses.
"""

import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any, ClassVar

import trio

from testbed.transport import pt
from testbed.transport.http_server import Answer, Request, answer_requests
from testbed.transport.interface import (
    READY_TIMEOUT_S,
    Address,
    Host,
    Program,
    ServerInfo,
    TransportError,
)
from testbed.transport.stun_server import serve_stun
from testbed.transport.tcp_datagrams import TcpDatagrams
from testbed.transport.tunnel import (
    WRAPPERS,
    await_greeting,
    serve_streams,
    server_tls_context,
    wrap_program,
)

_NAME = "broker.bridge.example"
_PATIENCE_S = 10.0
"""How long the broker lets a proxy wait for a client, and a client for the proxy's answer."""


@dataclass(frozen=True)
class Transport:
    """Snowflake, datagrams framed over KCP over WebRTC data channels. Reliable and in order."""

    programs: ClassVar[tuple[Program, ...]] = (
        Program("snowflake-client", apt="snowflake-client"),
        Program("snowflake-proxy", apt="snowflake-proxy"),
        Program("snowflake-server", go=True),
        *WRAPPERS,
    )

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Run a server, a broker on `listen`, a STUN server, and a proxy that awaits a client."""
        orport = await serve_streams(host, forward)
        local = Address(host.address, host.free_port())
        server = await pt.start_server(
            host, ["snowflake-server"], "snowflake", listen=local, orport=orport
        )
        broker = _Broker()
        context = server_tls_context(host)

        async def serve_client(stream: trio.abc.Stream) -> None:
            tls = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
            await answer_requests(tls, broker.answer)

        address = await host.serve_tcp(listen.port, serve_client)
        inside = await host.serve_tcp(0, lambda stream: answer_requests(stream, broker.answer))
        ice = f"stun:{await serve_stun(host)}"
        urls = ["-broker", f"http://{inside}/", "-relay", f"ws://{server.address}/"]
        options = ["-stun", ice, "-keep-local-addresses", "-allow-non-tls-relay"]
        await host.start_process(["snowflake-proxy", *urls, *options])
        with trio.move_on_after(READY_TIMEOUT_S) as limit:
            await broker.has_proxy.wait()
        if limit.cancelled_caught:
            raise TransportError("snowflake-proxy never polled the broker; its log may say why")
        front = f"{host.tls.server_name}:{address.port}"
        return ServerInfo(address, {"url": f"https://{_NAME}/", "front": front, "ice": ice})

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        """Run a client, which trusts the lab's authority, and wait for the server's greeting."""
        log = host.state_dir / f"snowflake-client-{host.free_port()}.log"
        hosts = {host.tls.server_name: server.address.host}
        env = {"SSL_CERT_FILE": str(host.tls.authority)}
        command = [wrap_program(host, "snowflake-client", hosts=hosts, env=env)]
        command += ["-keep-local-addresses", "-log", str(log)]
        client = await pt.start_client(host, command, "snowflake")
        channel = TcpDatagrams(await client.open_stream(server))
        await await_greeting(channel)
        return channel


@dataclass
class _Poll:
    """A proxy's request for a client, from the poll to its answer."""

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
        """Answer a request of a client or a proxy (Snowflake's common/messages, versions 1.x)."""
        handlers = {
            "/proxy": self._on_proxy,
            "/answer": self._on_answer,
            "/client": self._on_client,
        }
        handler = handlers.get(request.path)
        if handler is None:
            return Answer(404)
        try:
            # A client's message has a line with its version in front.
            message = json.loads(request.body[request.body.find(b"{") :])
            return Answer(200, json.dumps(await handler(message)).encode())
        except (ValueError, KeyError):
            return Answer(400)

    async def _on_proxy(self, message: dict[str, Any]) -> dict[str, str]:
        poll = self._matched[message["Sid"]] = _Poll()
        self._waiting.append(poll)
        self.has_proxy.set()
        with trio.move_on_after(_PATIENCE_S):
            await poll.matched.wait()
            return {"Status": "client match", "Offer": poll.offer, "NAT": poll.nat, "RelayURL": ""}
        self._waiting.remove(poll)
        del self._matched[message["Sid"]]
        return {"Status": "no match"}

    async def _on_client(self, message: dict[str, Any]) -> dict[str, str]:
        if not self._waiting:
            return {"error": "no snowflake proxies currently available"}
        poll = self._waiting.popleft()
        poll.offer, poll.nat = message["offer"], message.get("nat", "unknown")
        poll.matched.set()
        with trio.move_on_after(_PATIENCE_S):
            await poll.answered.wait()
            return {"answer": poll.answer}
        return {"error": "timed out waiting for answer!"}

    async def _on_answer(self, message: dict[str, Any]) -> dict[str, str]:
        poll = self._matched.pop(message["Sid"], None)
        if poll is None:
            return {"Status": "client gone"}
        poll.answer = message["Answer"]
        poll.answered.set()
        return {"Status": "success"}
