"""What stands around tunnels: HTTP however it is cut, and a greeting that says who is there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.transport import http_server, tunnel
from testbed.transport.channels import StreamDatagrams
from testbed.transport.framing import frame_datagram
from testbed.transport.http_server import Answer, Request, answer_requests
from testbed.transport.interface import TransportError
from testbed.transport.loopback import LoopbackHost

POSTS = st.lists(st.binary(max_size=40), min_size=1, max_size=4)


def post(body: bytes) -> bytes:
    return b"POST /at HTTP/1.1\r\nHost: a\r\nX-Id: 7\r\nContent-Length: %d\r\n\r\n%s" % (
        len(body),
        body,
    )


def said_to(sent: bytes, chunk_bytes: int = 1 << 30) -> tuple[bytes, list[Request]]:
    """Send bytes in chunks to a server that echoes bodies; give what it said until it hung up."""
    heard: list[Request] = []

    async def answer(request: Request) -> Answer:
        heard.append(request)
        return Answer(200, request.body)

    async def main() -> bytes:
        ours, theirs = trio.testing.memory_stream_pair()
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(answer_requests, theirs, answer)
                for at in range(0, len(sent), chunk_bytes):
                    await ours.send_all(sent[at : at + chunk_bytes])
                    await trio.testing.wait_all_tasks_blocked()
                await ours.send_eof()
                return b"".join([bytes(chunk) async for chunk in ours])
        raise AssertionError

    return trio.run(main), heard


@settings(max_examples=30, deadline=None)
@given(POSTS, st.integers(1, 50))
def test_requests_are_answered_in_turn_however_they_are_cut(
    bodies: list[bytes], chunk_bytes: int
) -> None:
    said, heard = said_to(b"".join(map(post, bodies)), chunk_bytes)
    assert [request.body for request in heard] == bodies
    assert {(r.method, r.path, r.headers["x-id"]) for r in heard} == {("POST", "/at", "7")}
    wanted = [b"HTTP/1.1 200 \r\nContent-Length: %d\r\n\r\n%s" % (len(b), b) for b in bodies]
    assert said == b"".join(wanted)


@pytest.mark.parametrize(
    "sent",
    [b"", b"\x16\x03\x01 no HTTP\r\n\r\n", post(b"whole")[:-2], b"POST / HTTP/1.1\r\n\r\n"],
)
def test_who_breaks_off_or_speaks_no_http_gets_no_answer(sent: bytes) -> None:
    assert said_to(sent)[1] == []


def test_a_body_that_never_ends_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "MAX_BODY_BYTES", 100)
    assert said_to(post(bytes(101)), 30) == (b"", [])
    assert len(said_to(post(bytes(100)), 30)[1]) == 1


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"", "ended before its server answered"),
        (b"\x00", "ended before its server answered"),
        (frame_datagram(b"SSH-2.0"), "is not from its server"),
        (None, r"did not answer through the tunnel within 0\.1 s"),
    ],
)
def test_a_stream_that_leads_nowhere_is_distinguished_from_one_that_does(
    monkeypatch: pytest.MonkeyPatch, sent: bytes | None, said: str
) -> None:
    monkeypatch.setattr(tunnel, "ECHO_TIMEOUT_S", 0.1)

    async def main() -> None:
        async with LoopbackHost() as host:
            ours, theirs = trio.testing.memory_stream_pair()
            if sent is not None:
                await theirs.send_all(sent)
                await theirs.send_eof()
            with pytest.raises(TransportError, match=said):
                await tunnel.await_greeting(StreamDatagrams(ours, host))
            with pytest.raises(trio.ClosedResourceError):
                await ours.send_all(b"more")

    trio.run(main)


def test_a_greeted_stream_carries_datagrams() -> None:
    async def main() -> None:
        with trio.fail_after(5):
            async with LoopbackHost() as host:
                echo = await tunnel.serve_echo(host)
                server = await tunnel.serve_streams(host, echo)
                async with await tunnel.connect_stream(host, server) as channel:
                    await channel.send(b"hello")
                    assert await channel.receive() == b"hello"

    trio.run(main)


def test_a_wrapped_program_keeps_its_name_and_gets_its_variables(tmp_path: Path) -> None:
    async def main() -> str:
        async with LoopbackHost(state_dir=tmp_path) as host:
            hosts, env = {"a.example": "192.0.2.1"}, {"SSL_CERT_FILE": "/it's here"}
            return tunnel.wrap_program(host, "env", hosts=hosts, env=env)

    command = Path(trio.run(main))
    assert command.name == "env"
    assert (command.parent / "hosts").read_text() == "192.0.2.1 a.example\n"
    inside = tmp_path / "unshare"  # as where no mount namespace may be made
    inside.write_text('#!/bin/sh\nshift 5\nexec env "$@"\n')
    inside.chmod(0o755)
    done = subprocess.run(
        [command, "printenv", "SSL_CERT_FILE"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "/it's here\n"
