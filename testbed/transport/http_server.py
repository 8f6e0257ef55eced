"""Serves HTTP/1.1 on any byte stream, with h11: reads whole requests and sends whole answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import NamedTuple

import h11
import trio

MAX_BODY_BYTES = 1 << 20
"""The longest body of a request."""


class Request(NamedTuple):
    """A whole request."""

    method: str
    path: str
    headers: Mapping[str, str]
    """By name in lower case; of several headers with one name, the last."""
    body: bytes


class Answer(NamedTuple):
    """The answer to one request."""

    status: int
    body: bytes = b""


async def answer_requests(
    stream: trio.abc.Stream, answer: Callable[[Request], Awaitable[Answer]]
) -> None:
    """Answer a connection's requests one after another until the client closes it.

    The connection of a client that violates HTTP, or sends more than `MAX_BODY_BYTES` in a body, is
    closed without an answer.
    """
    connection = h11.Connection(h11.SERVER)
    async with stream:
        with suppress(h11.RemoteProtocolError, trio.BrokenResourceError):
            while (request := await _request(stream, connection)) is not None:
                status, body = await answer(request)
                head = h11.Response(
                    status_code=status, headers=[("Content-Length", str(len(body)))]
                )
                parts = (head, h11.Data(data=body), h11.EndOfMessage())
                await stream.send_all(b"".join(filter(None, map(connection.send, parts))))
                if connection.our_state is h11.MUST_CLOSE:
                    return
                connection.start_next_cycle()


async def _request(stream: trio.abc.Stream, connection: h11.Connection) -> Request | None:
    head: h11.Request | None = None
    body = bytearray()
    while True:
        match connection.next_event():
            case h11.NEED_DATA:
                connection.receive_data(bytes(await stream.receive_some()))
            case h11.Request() as head:
                pass
            case h11.Data(data=chunk):
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise h11.RemoteProtocolError("the body is too long")
            case h11.EndOfMessage():
                assert head is not None
                headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
                return Request(head.method.decode(), head.target.decode(), headers, bytes(body))
            case _:
                return None
