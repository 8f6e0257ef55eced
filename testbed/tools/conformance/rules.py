"""The rules of the transport conformance suite, and the program that tests them in a guest.

The job's folder contains `check.pickle` (a `TransportChoice`) and the lab's certificates. The
program leaves `checks.json` there, with the verdicts and the times at which datagrams arrived. The
network on which transports are tested is in `testbed.tools.conformance.sessions`. Rules that can
share a session are tested in one scene; a scene that fails is itself a failure of a rule.
"""

from __future__ import annotations

import inspect
import json
import pickle
import re
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from itertools import pairwise, takewhile
from pathlib import Path

import trio

from testbed.experiment.cell import TransportChoice
from testbed.experiment.loading import make_transport
from testbed.lab.net.clock import LabClock
from testbed.tools.conformance.sessions import Bench, CheckFailed, Session
from testbed.transport import hello
from testbed.transport.client_side import ClientSide
from testbed.transport.interface import (
    MAX_DATAGRAM_BYTES,
    ServerInfo,
    TransportError,
)

CHECK_FILE, CHECKS_FILE = "check.pickle", "checks.json"

Scene = Callable[[Bench], Awaitable[None]]


@dataclass(frozen=True)
class Verdict:
    """The result of testing one rule."""

    rule: str
    ok: bool | None
    """None if the rule could not be tested."""
    seen: str


RULES = {
    "connects": "serve and connect return, and a datagram comes to the relay within 10 s",
    "both ways": "50 datagrams in each direction, 20 ms apart, all arrive on a path without loss",
    "sizes": "datagrams of 1 to 1,200 bytes arrive unchanged",
    "order": "the docstring says `in order` or `unordered`; the first is kept, without duplicates, "
    "on a path that reorders and drops packets",
    "reliable": "if the docstring says `reliable`, 200 of 200 datagrams arrive on such a path",
    "cancelled receive": "a receive that is cancelled loses no datagram",
    "close": "closing ends a waiting receive at once, and closing twice is allowed",
    "cancelled connect": "a connect that is cancelled half-way ends, and its host can be closed",
    "restart": "a new connection can be made to a server that was restarted",
    "loss": "with 5 % loss in each direction it connects, and 80 % or more of 200 datagrams arrive",
    "server gone": "connect fails within 30 s, or, if connectionless, does not hang",
    "path gone": "the same on a path that loses every packet; the lab may cancel connect",
    "stream": "where a transport changes what a node sends, a connection of the node's own still "
    "carries a ClientHello and 50 kB in each direction unchanged",
    "leaves nothing": "no process, socket or network interface outlives its host",
}
LOST_SHARE = 0.05
REORDERED_SHARE = 0.25
"""The share of packets that overtake others by up to 5 ms, each way, on the rough path."""
ROUGH = "reliable"
"""The scene on the rough path, in which a transport has to keep what its docstring promises."""
_ROUGH_DATAGRAMS, _ROUGH_GAP_S, _ROUGH_WAIT_S = 200, 0.002, 30.0
"""Datagrams closer than 5 ms, so that packets really overtake; repairing takes some seconds."""
CONNECT_S = 30.0
_CANCEL_AFTER_S = 0.03
_STREAM_PORT, _STREAM_NAME = 443, "chat.messenger.example"
_STREAM_BYTES, _STREAM_LIMIT_S = 50_000, 20.0
_SIZES = (1, 2, 3, 50, 160, 500, 1000, 1199, MAX_DATAGRAM_BYTES)


async def run_checks(
    choice: TransportChoice, job: Path
) -> tuple[list[Verdict], dict[str, list[int]]]:
    """Test every rule; return the verdicts in the order of `RULES`, and `Bench.arrivals`."""
    transport = make_transport(choice)
    scenes: dict[str, Scene] = {
        "connects": _one_session,
        "cancelled connect": _cancelled_connect,
        "restart": _restart,
        "loss": _loss,
        ROUGH: _rough_path,
        "server gone": _gone,
    }
    async with Bench.opened(transport, job) as bench:
        for rule, scene in scenes.items():
            before = bench.left_over()
            await bench.play(rule, scene)
            if left := bench.left_over() - before:
                seen = f"after the test of `{rule}`: {'; '.join(sorted(left))}"
                bench.verdicts.setdefault("leaves nothing", (False, seen))
        bench.verdicts.setdefault("leaves nothing", (True, f"checked {len(scenes)} times"))
        not_tried = (None, "not tested, because of an earlier failure")
        verdicts = [Verdict(rule, *bench.verdicts.get(rule, not_tried)) for rule in RULES]
        return verdicts, bench.arrivals


async def _one_session(bench: Bench) -> None:
    async with bench.session() as session:
        bench.verdicts["connects"] = (True, f"{session.set_up_s * 1e3:.1f} ms")
        await bench.judge("both ways", lambda: _both_ways(session))
        await bench.judge("sizes", lambda: _sizes(session))
        await bench.judge("order", lambda: _order(session))
        await bench.judge("cancelled receive", lambda: _cancelled_receive(session))
        await bench.judge("stream", lambda: _stream(session))
        await bench.judge("close", lambda: _close(session))


async def _both_ways(session: Session) -> str:
    up, down = await session.exchange(count=50, gap_s=0.02)
    if len(up) < 50 or len(down) < 50:
        raise CheckFailed(f"{len(up)} of 50 arrived up, {len(down)} of 50 down")
    medians = [session.median_delay_ms(way) for way in ("up", "down")]
    return f"median delay {medians[0]:.1f} ms up, {medians[1]:.1f} ms down"


async def _sizes(session: Session) -> str:
    for size in _SIZES:
        datagram = bytes((size + k) % 251 for k in range(size))
        await session.channel.send(datagram)
        if not await session.relay_hears(datagram):
            raise CheckFailed(f"a datagram of {size} bytes did not arrive unchanged upstream")
        await session.relay_sends(datagram)
        if not await session.client_hears(datagram):
            raise CheckFailed(f"a datagram of {size} bytes did not arrive unchanged downstream")
    return f"{len(_SIZES)} sizes, in each direction"


async def _order(session: Session) -> str:
    in_order, _ = _promises(session.bench)
    up, down = await session.exchange(count=100, gap_s=0.001)
    if in_order:
        _check_order(up, down)
    return "in order" if in_order else "unordered"


def _promises(bench: Bench) -> tuple[bool, bool]:
    """Return whether a transport's docstring promises order, and whether reliability."""
    said = (inspect.getdoc(type(bench.transport)) or "").lower()
    if ("in order" in said) == ("unordered" in said):
        raise CheckFailed("the class's docstring does not say `in order` or `unordered`")
    return "in order" in said, re.search(r"\breliable\b", said) is not None


def _check_order(*directions: list[int]) -> None:
    for direction, numbers in zip(("up", "down"), directions, strict=True):
        for before, after in pairwise(numbers):
            if after <= before:
                raise CheckFailed(
                    f"the docstring says `in order`, and number {after} came {direction} "
                    f"after number {before}"
                )


async def _rough_path(bench: Bench) -> None:
    """Judge `order` and `reliable` where the path itself reorders and drops packets."""

    async def order() -> str:
        if in_order:
            _check_order(up, down)
            return "in order where the path reorders"
        kept = "in order all the same" if _is_sorted(up) and _is_sorted(down) else "not in order"
        return f"unordered, as it says; arrived {kept}"

    async def reliability() -> str:
        arrived = f"{len(set(up))} of {_ROUGH_DATAGRAMS} arrived up, {len(set(down))} down"
        if reliable and min(len(set(up)), len(set(down))) < _ROUGH_DATAGRAMS:
            raise CheckFailed(f"the docstring says `reliable`, and {arrived}")
        return arrived if reliable else f"it does not promise that; {arrived}"

    try:
        in_order, reliable = _promises(bench)
    except CheckFailed:
        return  # `order` was judged by the same docstring before
    async with bench.session() as session:
        with bench.impaired(loss=LOST_SHARE, reordered=REORDERED_SHARE):
            up, down = await session.exchange(
                _ROUGH_DATAGRAMS, _ROUGH_GAP_S, _ROUGH_WAIT_S if reliable else 3.0
            )
    await bench.judge("order", order)
    await bench.judge("reliable", reliability)


def _is_sorted(numbers: list[int]) -> bool:
    return numbers == sorted(numbers)


async def _stream(session: Session) -> str:
    if not isinstance(session.bench.transport, ClientSide):
        return "it does not change what a node sends"
    # Evasion is for what a censor looks for, which is the first request of a connection.
    up = hello.tls(_STREAM_NAME, "h2") + bytes(k % 251 for k in range(_STREAM_BYTES))
    down = up[::-1]
    heard = bytearray()

    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            async for chunk in stream:
                heard.extend(chunk)
                if len(heard) >= len(up):
                    break
            await stream.send_all(down)

    server = await session.relay_host.serve_tcp(_STREAM_PORT, answer)
    answered = b""
    with trio.move_on_after(_STREAM_LIMIT_S):
        async with await session.caller.open_tcp(server) as stream:
            await stream.send_all(up)
            answered = b"".join([chunk async for chunk in stream])
    for way, sent, arrived in (("up", up, bytes(heard)), ("down", down, answered)):
        if arrived != sent:
            pairs = zip(sent, arrived, strict=False)
            same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
            raise CheckFailed(
                f"{same} of {len(sent)} bytes arrived {way} unchanged within {_STREAM_LIMIT_S:g} s"
            )
    return f"{len(up)} bytes up and {len(down)} down, unchanged"


async def _cancelled_receive(session: Session) -> str:
    with trio.move_on_after(0.1):
        await session.channel.receive()
    await session.relay_sends(b"after a receive that was cancelled")
    if not await session.client_hears(b"after a receive that was cancelled"):
        raise CheckFailed("the next datagram was lost")
    return "the next datagram arrived"


async def _close(session: Session) -> str:
    ended: list[str] = []

    async def wait() -> None:
        try:
            await session.channel.receive()
        except (trio.ClosedResourceError, trio.BrokenResourceError, trio.EndOfChannel) as error:
            ended.append(type(error).__name__)

    with trio.move_on_after(1):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.sleep(0.1)
            await session.channel.aclose()
    if not ended:
        raise CheckFailed("the waiting receive did not end within 1 s of closing")
    with trio.fail_after(1):
        await session.channel.aclose()
    return f"the waiting receive ended with {ended[0]}"


async def _cancelled_connect(bench: Bench) -> None:
    async def cancel() -> str:
        async with bench.server() as server, bench.host("caller") as host:
            with trio.move_on_after(_CANCEL_AFTER_S) as cancelled:
                await (await bench.transport.connect(host, server)).aclose()
        how = "cancelled" if cancelled.cancelled_caught else "already done, and closed"
        return f"{how} after {_CANCEL_AFTER_S * 1e3:g} ms"

    await bench.judge("cancelled connect", cancel)


async def _restart(bench: Bench) -> None:
    async with bench.server():
        pass
    async with bench.session() as session:
        bench.verdicts["restart"] = (True, f"{session.set_up_s * 1e3:.1f} ms")


async def _loss(bench: Bench) -> None:
    async def exchange() -> str:
        with bench.impaired(loss=LOST_SHARE):
            async with bench.session() as session:
                up, down = await session.exchange(count=200, gap_s=0.02)
        worse = min(len(set(up)), len(set(down)))
        if worse < 160:
            raise CheckFailed(f"{len(up)} of 200 arrived up, {len(down)} of 200 down")
        return f"{len(set(up)) / 2:g} % arrived up, {len(set(down)) / 2:g} % down"

    await bench.judge("loss", exchange)


async def _gone(bench: Bench) -> None:
    async with bench.server() as server:
        pass

    async def path_gone() -> str:
        with bench.black_hole():
            return await _connect_to_nobody(bench, server, lab_cancels=True)

    await bench.judge("server gone", lambda: _connect_to_nobody(bench, server, lab_cancels=False))
    await bench.judge("path gone", path_gone)


async def _connect_to_nobody(bench: Bench, server: ServerInfo, *, lab_cancels: bool) -> str:
    async with bench.host("caller") as host:
        began_at = trio.current_time()
        try:
            with trio.move_on_after(CONNECT_S) as limit:
                channel = await bench.transport.connect(host, server)
        except (TransportError, OSError) as error:
            took_s = trio.current_time() - began_at
            return f"{took_s:.1f} s: {type(error).__name__}: {str(error)[:60]}"
        if limit.cancelled_caught and lab_cancels:
            return f"the lab cancelled it after {CONNECT_S:g} s"
        if limit.cancelled_caught:
            raise CheckFailed(f"neither connected nor failed within {CONNECT_S:g} s")
        for _ in range(10):
            await channel.send(b"is anybody there?")
        with trio.move_on_after(1):
            await channel.receive()
        await channel.aclose()
    return "connectionless; datagrams were sent to nobody, and it closed"


def main(folder: str) -> int:
    """Test the transport in a job's folder; return the exit status."""
    job = Path(folder)
    with (job / CHECK_FILE).open("rb") as file:
        choice: TransportChoice = pickle.load(file)
    verdicts, arrivals = trio.run(run_checks, choice, job, clock=LabClock())
    content = {"verdicts": [asdict(verdict) for verdict in verdicts], "arrivals_ns": arrivals}
    (job / CHECKS_FILE).write_text(json.dumps(content, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
