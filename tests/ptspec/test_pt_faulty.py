"""Programs that misbehave in every way we could think of fail with a reason, and never hang."""

import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from testbed.transport import pt
from testbed.transport.interface import Address, ServerInfo, TransportError
from testbed.transport.loopback import LoopbackHost
from testbed.transport.pt import launch

PRELUDE = r"""
import os, signal, socket, sys, threading, time
with open("pid", "w") as pid_file:
    pid_file.write(str(os.getpid()))
def say(*lines):
    for line in lines:
        sys.stdout.buffer.write(line.encode() + b"\n")
    sys.stdout.flush()
def until_stdin_closes():
    sys.stdin.buffer.read()
listener = socket.create_server(("127.0.0.1", 0))
CMETHOD = "CMETHOD fake socks5 127.0.0.1:%d" % listener.getsockname()[1]
READY = ("VERSION 1", CMETHOD, "CMETHODS DONE")
def proxy(reply):  # one connection with arguments; then an echo
    stream, _ = listener.accept()
    stream.recv(3); stream.sendall(b"\5\2")
    stream.recv(513); stream.sendall(b"\1\0")
    stream.recv(10); stream.sendall(bytes((5, reply, 0, 1)) + bytes(6))
    try:
        while chunk := stream.recv(65536):
            stream.sendall(chunk)
    except ConnectionError:
        pass
"""

SERVER = ServerInfo(Address("192.0.2.1", 443), {"key": "value"})


def fake(script: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", PRELUDE + script]


async def start(host: LoopbackHost, script: str, *, ready_timeout_s: float = 10) -> pt.Client:
    return await pt.start_client(host, fake(script), "fake", ready_timeout_s=ready_timeout_s)


def run(
    tmp_path: Path,
    script: str,
    use: Callable[[pt.Client], Awaitable[None]] | None = None,
    *,
    ready_timeout_s: float = 10,
    term_timeout_s: float = 2,
) -> None:
    """Start a fake client, use it, close the host, and see that its process is gone."""

    async def main() -> None:
        with trio.fail_after(15):
            async with LoopbackHost(state_dir=tmp_path, term_timeout_s=term_timeout_s) as host:
                client = await start(host, script, ready_timeout_s=ready_timeout_s)
                if use is not None:
                    await use(client)

    try:
        trio.run(main)
    finally:
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / "pid").read_text()), 0)


async def echo_once(client: pt.Client) -> None:
    stream = await client.open_stream(SERVER)
    async with stream:
        await stream.send_all(b"hello")
        assert await stream.receive_some() == b"hello"


def failure(tmp_path: Path, script: str, *, ready_timeout_s: float = 10) -> str:
    with pytest.raises(TransportError) as caught:
        run(tmp_path, script, ready_timeout_s=ready_timeout_s)
    return "\n".join([str(caught.value), *getattr(caught.value, "__notes__", ())])


def test_a_correct_program_carries_bytes(tmp_path: Path) -> None:
    run(tmp_path, "say(*READY); proxy(0); until_stdin_closes()", echo_once)


def test_a_program_that_says_nothing_is_not_ready(tmp_path: Path) -> None:
    message = failure(tmp_path, "until_stdin_closes()", ready_timeout_s=0.3)
    assert message == f"{sys.executable} (client of fake) was not ready within 0.3 s"


def test_a_program_that_only_says_its_version_is_not_ready(tmp_path: Path) -> None:
    script = 'say("VERSION 1", "LOG SEVERITY=notice MESSAGE=waiting"); until_stdin_closes()'
    message = failure(tmp_path, script, ready_timeout_s=0.5)
    assert message.endswith("within 0.5 s\n  it said: LOG SEVERITY=notice MESSAGE=waiting")


def test_output_may_come_byte_by_byte(tmp_path: Path) -> None:
    script = r"""
for byte in "\n".join(READY) + "\n":
    sys.stdout.write(byte); sys.stdout.flush(); time.sleep(0.002)
proxy(0)
until_stdin_closes()
"""
    run(tmp_path, script, echo_once)


def test_garbage_lines_are_ignored(tmp_path: Path) -> None:
    script = r"""
sys.stdout.buffer.write(bytes(range(256)) * 3 + b"\n\n\r\n" + b"x" * 100000 + b"\n")
say("FUTURE KEYWORD", 'LOG SEVERITY="', "STATUS ???", "[ERROR]: a plain line", *READY)
proxy(0)
until_stdin_closes()
"""
    run(tmp_path, script, echo_once)


def test_endless_garbage_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "STOP_TIMEOUT_S", 0.1)
    message = failure(tmp_path, 'while True: say("garbage " * 500)')
    assert "bytes and was still not ready" in message
    assert "it said: garbage" in message
    assert len(message) < 20_000


def test_output_is_read_after_a_failure_so_that_the_program_can_end(tmp_path: Path) -> None:
    script = r"""
say("VERSION 1", "CMETHOD-ERROR fake no")
for _ in range(3000):
    say("more " * 200)
until_stdin_closes()
open("ended", "w").close()
"""
    assert "CMETHOD-ERROR: no" in failure(tmp_path, script)
    assert (tmp_path / "ended").exists()


def test_a_malformed_method_is_an_error_that_quotes_it(tmp_path: Path) -> None:
    message = failure(
        tmp_path, 'say("VERSION 1", "CMETHOD fake socks5 nowhere"); until_stdin_closes()'
    )
    assert "violated the protocol: malformed line 'CMETHOD fake socks5 nowhere'" in message


def test_another_protocol_version_is_an_error(tmp_path: Path) -> None:
    message = failure(tmp_path, 'say("VERSION 2"); until_stdin_closes()')
    assert "it speaks version 2 of the protocol, not 1" in message


@pytest.mark.parametrize("attempt", range(5))
def test_a_reason_that_the_program_gives_is_preferred_to_its_exit_status(
    tmp_path: Path, attempt: int
) -> None:
    message = failure(tmp_path, 'say("VERSION-ERROR no-version"); os._exit(1)')
    assert "(client of fake) does not offer the transport: VERSION-ERROR: no-version" in message


def test_a_last_line_without_a_line_end_is_read(tmp_path: Path) -> None:
    script = 'sys.stdout.write("ENV-ERROR no such thing"); sys.stdout.flush(); os._exit(1)'
    assert "transport: ENV-ERROR: no such thing" in failure(tmp_path, script)


@pytest.mark.parametrize("attempt", range(5))
def test_a_crash_before_it_is_ready_is_an_error_with_the_status(
    tmp_path: Path, attempt: int
) -> None:
    message = failure(tmp_path, 'say(*READY[:2]); print("ouch", file=sys.stderr); sys.exit(3)')
    assert "(client of fake) ended with exit status 3 before it was ready" in message
    assert "its log ends:\nouch" in message  # the host's note


def test_a_crash_by_a_signal_is_an_error_with_the_signal(tmp_path: Path) -> None:
    message = failure(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)")
    assert "ended with exit status -9 before it was ready" in message


def test_a_program_that_closes_its_output_early_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "EXIT_STATUS_TIMEOUT_S", 0.2)
    message = failure(tmp_path, "os.close(1); until_stdin_closes()")
    assert "closed its standard output before it was ready" in message


def test_a_crash_after_it_was_ready_fails_the_host(tmp_path: Path) -> None:
    async def wait(_: pt.Client) -> None:
        await trio.sleep_forever()

    with pytest.raises(TransportError, match="ended with exit status 3 while it was needed") as it:
        run(tmp_path, 'say(*READY); print("ouch", file=sys.stderr); sys.exit(3)', wait)
    assert str(it.value).endswith("its log ends:\nouch\n")


def test_a_program_that_offers_only_other_transports_is_an_error(tmp_path: Path) -> None:
    message = failure(
        tmp_path,
        'say("VERSION 1", CMETHOD.replace("fake", "other"), READY[2]); until_stdin_closes()',
    )
    assert "CMETHODS DONE without this transport: it offers other" in message


def test_a_program_that_ignores_the_end_of_its_input_gets_sigterm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "STOP_TIMEOUT_S", 0.2)
    run(
        tmp_path,
        'signal.signal(signal.SIGTERM, lambda *_: (open("term", "w").close(), os._exit(0)))\n'
        "say(*READY); time.sleep(60)",
    )
    assert (tmp_path / "term").exists()


def test_a_program_that_ignores_sigterm_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "STOP_TIMEOUT_S", 0.1)
    script = "signal.signal(signal.SIGTERM, signal.SIG_IGN); say(*READY); time.sleep(60)"
    run(tmp_path, script, term_timeout_s=0.1)


def test_a_flood_of_output_does_not_block_the_program(tmp_path: Path) -> None:
    script = r"""
say(*READY)
def flood():
    for number in range(3000):
        say("LOG SEVERITY=debug MESSAGE=%d" % number + "x" * 1000)
flooding = threading.Thread(target=flood)
flooding.start()
flooding.join()  # only once all of it was read
proxy(0)
until_stdin_closes()
"""

    async def use(client: pt.Client) -> None:
        await echo_once(client)
        remarks = client._program._remarks
        assert len(remarks) == launch.KEPT_REMARKS
        assert remarks[-1].startswith("LOG SEVERITY=debug MESSAGE=2999")
        assert max(map(len, remarks)) <= launch.KEPT_REMARK_CHARS

    run(tmp_path, script, use)


def test_a_refusal_by_socks_is_an_error_with_the_reply(tmp_path: Path) -> None:
    script = """
say(*READY)
say('LOG SEVERITY=warning MESSAGE="bridge is gone"')
proxy(5)
until_stdin_closes()
"""

    async def use(client: pt.Client) -> None:
        with pytest.raises(TransportError) as caught:
            await client.open_stream(SERVER)
        assert str(caught.value) == (
            f"{sys.executable} (client of fake) opened no stream to 192.0.2.1:443: "
            "connection refused (reply 0x05)\n"
            '  it said: LOG SEVERITY=warning MESSAGE="bridge is gone"'
        )

    run(tmp_path, script, use)


def test_a_stream_that_socks_never_opens_times_out(tmp_path: Path) -> None:
    async def use(client: pt.Client) -> None:
        with pytest.raises(TransportError, match=r"nothing was decided within 0\.2 s"):
            await client.open_stream(SERVER, timeout_s=0.2)

    run(tmp_path, "say(*READY); until_stdin_closes()", use)


def test_a_proxy_that_closes_the_connection_is_an_error(tmp_path: Path) -> None:
    async def use(client: pt.Client) -> None:
        with pytest.raises(TransportError, match=r"closed after 0 of 2 bytes|the connection broke"):
            await client.open_stream(SERVER)

    run(tmp_path, "say(*READY); listener.accept()[0].close(); until_stdin_closes()", use)


def test_a_proxy_that_does_not_listen_is_an_error(tmp_path: Path) -> None:
    async def use(client: pt.Client) -> None:
        with pytest.raises(TransportError, match="does not accept SOCKS connections at 127"):
            await client.open_stream(SERVER)

    run(tmp_path, "listener.close(); say(*READY); until_stdin_closes()", use)


def test_arguments_that_are_too_long_for_socks_are_an_error(tmp_path: Path) -> None:
    async def use(client: pt.Client) -> None:
        with pytest.raises(TransportError, match="SOCKS5 carries at most 510"):
            await client.open_stream(ServerInfo(SERVER.address, {"key": "x" * 600}))

    run(tmp_path, "say(*READY); until_stdin_closes()", use)


@pytest.mark.parametrize("argv", [["no-such-program-here"], ["/dev/null"], ["./no/such/file"]])
def test_a_missing_program_is_an_error_that_says_so(argv: list[str]) -> None:
    async def main() -> None:
        async with LoopbackHost() as host:
            await pt.start_client(host, argv, "fake")

    with pytest.raises(TransportError, match=r"cannot be started: .*; is it installed\?"):
        trio.run(main)


def test_a_name_that_no_transport_may_have_is_refused() -> None:
    async def main() -> None:
        async with LoopbackHost() as host:
            await pt.start_client(host, ["x"], "ob:fs4")

    with pytest.raises(TransportError, match="'ob:fs4' is not the name"):
        trio.run(main)


def test_the_callers_own_timeout_cancels_the_start(tmp_path: Path) -> None:
    async def main() -> None:
        async with LoopbackHost(state_dir=tmp_path) as host:
            with trio.move_on_after(0.3) as scope:
                await start(host, "until_stdin_closes()", ready_timeout_s=60)
            assert scope.cancelled_caught

    trio.run(main)


def test_the_address_that_a_server_reports_is_returned(tmp_path: Path) -> None:
    script = r"""
address = os.environ["TOR_PT_SERVER_BINDADDR"].removeprefix("fake-")
options = os.environ["TOR_PT_SERVER_TRANSPORT_OPTIONS"]
say("VERSION 1", "SMETHOD fake 0.0.0.0:%s ARGS:said=%s" % (address.split(":")[1],
    options.replace("\\", "\\\\").replace("=", "\\=").replace(",", "\\,")), "SMETHODS DONE")
until_stdin_closes()
"""

    async def main() -> ServerInfo:
        async with LoopbackHost(state_dir=tmp_path) as host:
            return await pt.start_server(
                host,
                fake(script),
                "fake",
                listen=Address("127.0.0.1", 4443),
                orport=Address("127.0.0.1", 9001),
                options={"a": "b,c:d"},
            )

    info = trio.run(main)
    assert info == ServerInfo(Address("127.0.0.1", 4443), {"said": r"fake:a=b,c\:d"})
