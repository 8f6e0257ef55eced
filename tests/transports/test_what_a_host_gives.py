"""What the public interface promises of programs and of tunnels, on a machine's own loopback."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from testbed.transport import interface
from testbed.transport.interface import Address, Process, Program, TransportError, find_program
from testbed.transport.loopback import LoopbackHost
from testbed.transport.tunnel import await_echo, serve_echo
from tests import loopback

with_host = partial(loopback.with_host, timeout_s=20)  # programs start


def python(program: str) -> list[str]:
    return [sys.executable, "-c", f"import sys, time\n{program}"]


def test_a_program_is_ready_when_it_says_so_and_its_log_goes_on(tmp_path: Path) -> None:
    say = "for word in ('wait', ' now re', 'ady ', 'more'): sys.stderr.write(word)"

    async def close_input(process: Process) -> None:
        await process.stdin.aclose()
        await process.wait()

    async def main() -> None:
        with trio.fail_after(20):
            async with LoopbackHost(state_dir=tmp_path) as host:
                program = python(f"{say}; sys.stderr.flush()\nsys.stdin.read()")
                await host.start_process(program, ready="now ready", stop=close_input)

    trio.run(main)
    [log] = tmp_path.glob("*.log")
    assert log.read_text() == "wait now ready more"


def test_words_on_the_standard_output_count_too(tmp_path: Path) -> None:
    async def main() -> None:
        with trio.fail_after(20):
            async with LoopbackHost(state_dir=tmp_path) as host:
                program = python("print('ready', flush=True); sys.stdin.read()")
                await host.start_process(program, ready="ready")
                with pytest.raises(TransportError, match=r"did not say 'nothing'"):
                    await host.start_process(program, ready="nothing", ready_timeout_s=0.5)

    trio.run(main)
    assert [log.read_text() for log in tmp_path.glob("*.log")] == ["ready\n"] * 2


def test_a_program_that_ends_before_it_is_ready_fails_with_its_last_words() -> None:
    async def use(host: LoopbackHost) -> None:
        await host.start_process(python("sys.exit('no such key')"), ready="ready")

    with pytest.raises(TransportError, match=r"exit status 1(.|\n)*no such key"):
        with_host(use)


def test_a_program_run_to_its_end_gives_what_it_printed() -> None:
    async def use(host: LoopbackHost) -> None:
        echo = python("print(sys.stdin.read() * 2, end='')")
        assert await host.run_process(echo, input=b"ab") == b"abab"
        with pytest.raises(TransportError, match=r"status 3: not so"):
            await host.run_process(python("print('not so', file=sys.stderr); sys.exit(3)"))

    with_host(use)


def test_a_machines_own_packets_are_left_alone() -> None:
    class Nothing:
        def sent(self, packet: bytes, now: float) -> list[bytes]:
            return []

        def received(self, packet: bytes, now: float) -> None:
            pass

    async def use(host: LoopbackHost) -> None:
        for refused in (
            host.rewrite_packets(Nothing()),
            host.queue_packets(1, mark=1),
            host.queue_is_read(1),
            host.proxy_tcp(["p"], 1080),
        ):
            with pytest.raises(TransportError, match="try this transport in a guest"):
                await refused

    with_host(use)


def test_a_tunnel_carries_when_an_echo_comes_back() -> None:
    async def use(host: LoopbackHost) -> None:
        await await_echo(await host.open_udp(await serve_echo(host)))

    with_host(use)


def test_a_tunnel_that_carries_nothing_is_an_error(autojump_clock: trio.testing.MockClock) -> None:
    class Silent(trio.abc.Channel[bytes]):
        async def send(self, value: bytes) -> None:
            await trio.lowlevel.checkpoint()

        async def receive(self) -> bytes:
            await trio.sleep_forever()
            return b""

        async def aclose(self) -> None:
            await trio.lowlevel.checkpoint()

    async def main() -> None:
        with pytest.raises(TransportError, match=r"came back .* within 25 s"):
            await await_echo(Silent())

    trio.run(main, clock=autojump_clock)


@pytest.fixture
def autojump_clock() -> trio.testing.MockClock:
    return trio.testing.MockClock(autojump_threshold=0)


def test_a_free_port_can_be_had() -> None:
    async def use(host: LoopbackHost) -> None:
        port = host.free_port()
        server = await host.serve_udp(Address(host.address, port))
        assert server.address.port == port

    with_host(use)


def test_programs_are_found_on_the_path_next_to_python_and_inside_packages(tmp_path: Path) -> None:
    assert find_program("sh") is not None
    assert find_program(Path(sys.executable).name) is not None
    assert find_program("no-such-program") is None
    inside = Program("tool", pypi="tools", inside="no_such_package/tool")
    assert inside.find() is None
    with pytest.raises(TransportError, match="no program tool: testbed image update --package too"):
        inside.path()
    assert Program("tool").remedy == "install tool, or name its path"


def test_a_program_of_the_user_is_found_in_a_guest_by_its_bare_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh")
    (tmp_path / "tool").chmod(0o755)
    monkeypatch.setattr(interface, "GUEST_PROGRAMS", tmp_path)
    assert find_program("/home/somebody/bin/tool") == find_program("tool") == tmp_path / "tool"


def test_a_network_interface_is_the_labs() -> None:
    async def use(host: LoopbackHost) -> None:
        with pytest.raises(TransportError, match="in a guest"):
            await host.open_udp(Address("127.0.0.1", 9), device="wg0")

    with_host(use)
