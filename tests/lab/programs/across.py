"""Sends odd packets across a middlebox in a guest, and writes down what came through."""

from __future__ import annotations

import json
import socket
import struct
from dataclasses import asdict
from pathlib import Path
from random import Random

import trio

from testbed.censor.actions.answer import Answer
from testbed.censor.actions.pass_ import Pass
from testbed.censor.actions.reset import Reset
from testbed.censor.censor import Censor
from testbed.censor.match import Match
from testbed.censor.stack import StackedCensors
from testbed.lab.middlebox import Middlebox
from testbed.lab.net.clock import LabClock
from testbed.lab.net.network import LabNetwork, NetworkNode
from testbed.lab.net.plan import plan_of
from testbed.tools.forwarding import Across
from tests.censor.packets import STUN_BINDING, profile, rule

PORT, REFUSED_PORT = 3478, 9
WAIT_S = 1.0
LARGE = STUN_BINDING + bytes(4000)
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


def udp_pair(network: LabNetwork, version: int) -> tuple[trio.socket.SocketType, ...]:
    """A socket inside that is connected to one outside."""
    outside = endpoint(network["outside"], version, socket.SOCK_DGRAM)
    inside = endpoint(network["inside"], version, socket.SOCK_DGRAM)
    inside.connect(outside.getsockname())
    return trio.socket.from_stdlib_socket(inside), trio.socket.from_stdlib_socket(outside)


def endpoint(node: NetworkNode, version: int, kind: int) -> socket.socket:
    with node.namespace.entered():
        sock = socket.socket(FAMILIES[version], kind)
    sock.setblocking(False)
    interface = node.interfaces[0]
    server_port = PORT if node.name == "outside" else 0
    sock.bind((interface.ip if version == 4 else interface.ip6, server_port))
    return sock


async def received(sock: trio.socket.SocketType) -> int | None:
    """How long the next datagram is; None: nothing came."""
    with trio.move_on_after(WAIT_S):
        return len(await sock.recv(65535))
    return None


async def exchange(network: LabNetwork, version: int, payload: bytes) -> list[int | None]:
    """A datagram out, and one as long back."""
    inside, outside = udp_pair(network, version)
    await inside.send(payload)
    there = await received(outside)
    await outside.sendto(bytes(there or 0), inside.getsockname())
    back = await received(inside)
    inside.close()
    outside.close()
    return [there, back]


async def overlapping_fragments(network: LabNetwork) -> list[int | None]:
    """Two fragments that overlap, then a datagram that is whole."""
    inside, outside = udp_pair(network, 4)
    with network["inside"].namespace.entered():
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    source, destination = (network[n].address for n in ("inside", "outside"))
    datagram = struct.pack("!HHHH", 1234, PORT, 8 + 64, 0) + bytes(64)
    for offset, part, more in ((0, datagram[:48], 1), (4, datagram[32:], 0)):
        header = struct.pack(
            "!BBHHHBBH", 0x45, 0, 20 + len(part), 7, more << 13 | offset, 64, 17, 0
        )
        ends = socket.inet_aton(source) + socket.inet_aton(destination)
        raw.sendto(header + ends + part, (destination, 0))
    raw.close()
    overlapped = await received(outside)
    await inside.send(b"whole")
    whole = await received(outside)
    inside.close()
    outside.close()
    return [overlapped, whole]


async def reset(network: LabNetwork) -> str:
    """A TCP connection over IPv6 that says something."""
    listener = endpoint(network["outside"], 6, socket.SOCK_STREAM)
    listener.listen()
    client = trio.socket.from_stdlib_socket(endpoint(network["inside"], 6, socket.SOCK_STREAM))
    await client.connect(listener.getsockname())
    await client.send(b"GET / HTTP/1.1\r\nHost: blocked.example\r\n\r\n")
    try:
        with trio.move_on_after(WAIT_S):
            await client.recv(1)
    except ConnectionResetError:
        return "reset"
    return "nothing"


async def refused(network: LabNetwork, version: int) -> str:
    """A datagram to a port that the box says is closed."""
    with network["inside"].namespace.entered():
        inside = socket.socket(FAMILIES[version], socket.SOCK_DGRAM)
    inside.setblocking(False)
    outside = network["outside"].interfaces[0]
    inside.connect((outside.ip if version == 4 else outside.ip6, REFUSED_PORT))
    inside.send(b"hello")
    try:
        with trio.move_on_after(WAIT_S):
            await trio.socket.from_stdlib_socket(inside).recv(1)
    except ConnectionRefusedError:
        return "refused"
    finally:
        inside.close()
    return "nothing"


async def play(folder: Path) -> None:
    rules = (
        rule("web", Match(protocol="tcp", host=("blocked.example",)), Reset()),
        rule("stun", Match(label="stun"), Pass()),
        rule("refused", Match(server_ports=(str(REFUSED_PORT),)), Answer("port-unreachable")),
    )
    censor = Censor(profile(*rules), Random(0))
    found: dict[str, object] = {}
    with LabNetwork(plan_of(Across())) as network:
        await network.settled()
        box = Middlebox(network["middlebox"], StackedCensors({"": censor}), "middlebox-eth0")
        with box.attached() as queue:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(box.run, queue)
                for version in FAMILIES:
                    found[f"small {version}"] = await exchange(network, version, b"hello")
                    found[f"large {version}"] = await exchange(network, version, LARGE)
                found["overlapping"] = await overlapping_fragments(network)
                found["reset 6"] = await reset(network)
                for version in FAMILIES:
                    found[f"refused {version}"] = await refused(network, version)
                nursery.cancel_scope.cancel()
    found["events"] = [[event.flow, event.what] for event in censor.events]
    found["rules"] = {name: asdict(counters) for name, counters in censor.counters.items()}
    (folder / "found.json").write_text(json.dumps(found))


def main(folder: str) -> int:
    trio.run(play, Path(folder), clock=LabClock())
    return 0
