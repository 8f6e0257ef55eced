"""meek: a stream in polls by HTTPS POST, where the TLS names a front and the HTTP the bridge.

The client is `meek_lite` of obfs4proxy. The server is our own, since Debian has none. It follows
meek-server 0.26 in what a client can notice: the constants below. A poll's body is what the client
has to send; the answer's body is what has come from the ORPort within a short time. Polls with one
session ID are one stream. The CDN in between is not modelled: the front is the bridge's address.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import trio

from testbed.transport import pt
from testbed.transport.http_server import Answer, Request, answer_requests
from testbed.transport.interface import Address, Host, Program, ServerInfo
from testbed.transport.tcp_datagrams import TcpDatagrams
from testbed.transport.tunnel import (
    WRAPPERS,
    await_greeting,
    serve_streams,
    server_tls_context,
    wrap_program,
)

_NAME = "meek.bridge.example"
_MIN_SESSION_ID_LENGTH, _MAX_PAYLOAD_BYTES = 8, 0x10000
_TURNAROUND_S, _MAX_STALENESS_S = 0.01, 120.0
"""How long an answer waits for data, and how long a session without polls is kept."""


@dataclass(frozen=True)
class Transport:
    """meek (obfs4proxy's client), datagrams framed over HTTPS polling. Reliable and in order."""

    programs: ClassVar[tuple[Program, ...]] = (
        Program("obfs4proxy", apt="obfs4proxy"),
        *WRAPPERS,
    )

    async def serve(self, host: Host, listen: Address, forward: Address) -> ServerInfo:
        """Serve meek by HTTPS on `listen`."""
        orport = await serve_streams(host, forward)
        context = server_tls_context(host)
        server = _Server(host, orport)

        async def serve_client(stream: trio.abc.Stream) -> None:
            tls = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
            await answer_requests(tls, server.answer)

        address = await host.serve_tcp(listen.port, serve_client)
        front = f"{host.tls.server_name}:{address.port}"
        return ServerInfo(address, {"url": f"https://{_NAME}/", "front": front})

    async def connect(self, host: Host, server: ServerInfo) -> trio.abc.Channel[bytes]:
        """Run a client, which trusts the lab's authority, and wait for its first answer."""
        hosts = {host.tls.server_name: server.address.host}
        env = {"SSL_CERT_FILE": str(host.tls.authority)}
        command = wrap_program(host, "obfs4proxy", hosts=hosts, env=env)
        client = await pt.start_client(host, [command], "meek_lite")
        channel = TcpDatagrams(await client.open_stream(server))
        await await_greeting(channel)
        return channel


@dataclass
class _Session:
    stream: trio.abc.Stream
    life: trio.CancelScope = field(default_factory=trio.CancelScope)
    turn: trio.Lock = field(default_factory=trio.Lock)

    async def live(self) -> None:
        with self.life:
            await trio.sleep_forever()


class _Server:
    def __init__(self, host: Host, orport: Address) -> None:
        self._host, self._orport = host, orport
        self._sessions: dict[str, _Session] = {}

    async def answer(self, request: Request) -> Answer:
        """Pass a poll's body to its session's stream, and return what has come from there."""
        number = request.headers.get("x-session-id", "")
        if request.method != "POST" or len(number) < _MIN_SESSION_ID_LENGTH:
            return Answer(400)
        try:
            return await self._poll(await self._session(number), request.body)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            return Answer(500)

    async def _poll(self, session: _Session, body: bytes) -> Answer:
        session.life.deadline = trio.current_time() + _MAX_STALENESS_S
        async with session.turn:
            await session.stream.send_all(body)
            with trio.move_on_after(_TURNAROUND_S):
                return Answer(200, bytes(await session.stream.receive_some(_MAX_PAYLOAD_BYTES)))
        return Answer(200)

    async def _session(self, number: str) -> _Session:
        if number not in self._sessions:
            session = _Session(await self._host.open_tcp(self._orport))
            self._sessions[number] = session
            self._host.start_task(partial(self._keep, number, session))
        return self._sessions[number]

    async def _keep(self, number: str, session: _Session) -> None:
        async with session.stream:
            await session.live()
        del self._sessions[number]
