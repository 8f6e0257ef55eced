"""Run in a guest: sends what is merely related to a flow across a middlebox, and notes what it did.

A box is asked about each packet of a flow. What is related to it, errors of ICMP that quote its
packets and packets that only conntrack takes for its own, must not end that; and an error must not
pass unasked because the flow that it quotes is settled.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from random import Random

import trio

from testbed.censor.actions.delay import Delay
from testbed.censor.actions.drop import Drop
from testbed.censor.actions.pass_ import Pass
from testbed.censor.censor import Censor
from testbed.censor.match import Match
from testbed.censor.packet import Endpoint
from testbed.censor.profile import Inspection, Profile
from testbed.censor.stack import StackedCensors
from testbed.evidence import Evidence
from testbed.lab.middlebox import Middlebox
from testbed.lab.net.clock import LabClock
from testbed.lab.net.network import LabNetwork, NetworkNode
from testbed.lab.net.plan import plan_of
from testbed.tools.forwarding import Across
from testbed.transport.internet import checksum
from tests.censor.packets import ipv4, ipv6, profile, rule

PORT = 3478
DATAGRAMS = 5
IDLE_S = 10.0
WAIT_S = 0.1
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
PROTOCOLS = {"udp": 17, "tcp": 6}
ERRORS = {
    4: [(3, code) for code in range(16)] + [(4, 0), (5, 1), (11, 0), (11, 1), (12, 0)],
    6: [(1, code) for code in range(7)] + [(2, 0), (3, 0), (3, 1), (4, 0), (4, 1), (4, 2)],
}
"""Types and codes of errors (RFC 792, 1122, 1812, 4443)."""
WATCHING = profile(
    rule("icmp", Match(protocol="icmp"), Pass()), rule("all", Match(), Delay(delay_ms=0.0))
)
SETTLING = profile(rule("icmp", Match(protocol="icmp"), Drop()))


def address(node: NetworkNode, version: int) -> str:
    interface = node.interfaces[0]
    return interface.ip if version == 4 else interface.ip6


def raw(node: NetworkNode, version: int) -> socket.socket:
    with node.namespace.entered():
        return socket.socket(FAMILIES[version], socket.SOCK_RAW, socket.IPPROTO_RAW)


def packet(version: int, protocol: int, content: bytes, ends: tuple[str, str]) -> bytes:
    return (ipv4 if version == 4 else ipv6)(content, protocol, *ends)


def error(version: int, kind: int, code: int, quoted: bytes, ends: tuple[str, str]) -> bytes:
    """An ICMP error that quotes a packet, with a right checksum; a mtu of 1400 where it has one."""
    head = struct.pack("!BBHHH", kind, code, 0, 0, 1400)
    if (version, kind) == (6, 2):
        head = struct.pack("!BBHI", kind, code, 0, 1400)
    message = head + quoted
    pseudo = b""
    if version == 6:
        addresses = b"".join(socket.inet_pton(socket.AF_INET6, end) for end in ends)
        pseudo = addresses + struct.pack("!II", len(message), 58)
    message = message[:2] + checksum(pseudo + message).to_bytes(2, "big") + message[4:]
    return packet(version, 1 if version == 4 else 58, message, ends)


def errors(
    version: int, protocol: str, inside: Endpoint, outside: Endpoint
) -> Iterator[tuple[bool, bytes]]:
    """Errors of each kind, from outside about what went up, and from inside about what came."""
    family = FAMILIES[version]
    for up, source, destination in ((True, inside, outside), (False, outside, inside)):
        names = tuple(socket.inet_ntop(family, end.address) for end in (source, destination))
        ports = struct.pack("!HHHH", source.port, destination.port, 28, 0)
        quoted = packet(version, PROTOCOLS[protocol], ports + bytes(20), (names[0], names[1]))
        for kind, code in ERRORS[version]:
            yield not up, error(version, kind, code, quoted, (names[1], names[0]))


def disguised(version: int, inside: Endpoint, outside: Endpoint) -> Iterator[bytes]:
    """Packets that conntrack takes for the flow's, and a box that reads less does not."""
    if version == 4:
        return
    ends = tuple(socket.inet_ntop(socket.AF_INET6, end.address) for end in (inside, outside))
    datagram = struct.pack("!HHHH", inside.port, outside.port, 12, 0) + b"more"
    addresses = inside.address + outside.address
    summed = checksum(addresses + struct.pack("!II", len(datagram), 17) + datagram)
    datagram = datagram[:6] + summed.to_bytes(2, "big") + datagram[8:]
    options = (60, b"\0" + b"\1\4" + bytes(4))
    yield ipv6(datagram, 17, ends[0], ends[1], [options] * 9)
    yield ipv6(datagram, 17, ends[0], ends[1], [(51, b"\1" + bytes(10))])


class Flow:
    """A UDP or TCP flow between both ends."""

    def __init__(self, network: LabNetwork, version: int, protocol: str) -> None:
        kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
        sockets = []
        for name, port in (("outside", PORT), ("inside", 0)):
            with network[name].namespace.entered():
                sock = socket.socket(FAMILIES[version], kind)
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((address(network[name], version), port))
            sockets.append(sock)
        self.outside, self.inside = (trio.socket.from_stdlib_socket(sock) for sock in sockets)
        self.protocol = protocol
        self.accepted = self.outside

    async def open(self) -> None:
        if self.protocol == "tcp":
            self.outside.listen()
        await self.inside.connect(self.outside.getsockname())
        if self.protocol == "tcp":
            self.accepted, _ = await self.outside.accept()

    async def exchange(self) -> None:
        """A packet up and one down, several times."""
        for _ in range(DATAGRAMS):
            await self.inside.send(b"up")
            if self.protocol == "udp":
                await self.outside.recv(9)
                await self.outside.sendto(b"down", self.inside.getsockname())
            else:
                await self.accepted.recv(9)
                await self.accepted.send(b"down")
            with trio.move_on_after(WAIT_S):
                await self.inside.recv(9)
            await trio.sleep(WAIT_S)

    def ends(self, version: int) -> tuple[Endpoint, Endpoint]:
        inside, outside = (
            Endpoint(socket.inet_pton(FAMILIES[version], name[0]), name[1])
            for name in (self.inside.getsockname(), self.accepted.getsockname())
        )
        return inside, outside

    def forget_errors(self) -> None:
        """Take what the kernel would say of the errors at the next call."""
        for sock in (self.inside, self.outside):
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def close(self) -> None:
        for sock in {self.inside, self.accepted, self.outside}:
            sock.close()


async def across(
    boxed: Profile, version: int, protocol: str, *, with_errors: bool
) -> dict[str, int]:
    """What a box was asked about, and what it dropped, of a flow and what is related to it."""
    censor = Censor(boxed, Random(0))
    with LabNetwork(plan_of(Across())) as network:
        await network.settled()
        box = Middlebox(network["middlebox"], StackedCensors({"": censor}), "middlebox-eth0")
        with box.attached() as queue:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(box.run, queue)
                flow = Flow(network, version, protocol)
                await flow.open()
                await flow.exchange()
                senders = {up: raw(network[end], version) for up, end in ENDS.items()}
                inside, outside = flow.ends(version)
                before = censor.packets_asked
                sent = list(errors(version, protocol, inside, outside)) if with_errors else []
                if with_errors and protocol == "udp":
                    sent += [(True, data) for data in disguised(version, inside, outside)]
                for up, data in sent:
                    goal = outside if up else inside
                    name = socket.inet_ntop(FAMILIES[version], goal.address)
                    senders[up].sendto(data, (name, 0))
                await trio.sleep(WAIT_S)
                of_errors = censor.packets_asked - before
                flow.forget_errors()
                await flow.exchange()
                await trio.sleep(WAIT_S)
                flow.close()
                for sender in senders.values():
                    sender.close()
                nursery.cancel_scope.cancel()
    counters = censor.counters
    return {
        "asked": censor.packets_asked - of_errors,
        "sent": len(sent),
        "asked of errors": of_errors,
        "icmp": counters["icmp"].matched,
        "icmp dropped": counters["icmp"].dropped,
    }


async def after_silence(version: int, protocol: str) -> list[int]:
    """How often a box that forgets silent flows is asked of a settled one: at first, after a
    silence that is too short, after one that is long enough."""
    evidence = {name: Evidence("a test", "assumed") for name in ("idle_s", "reassembles")}
    inspection = Inspection(evidence, idle_s=IDLE_S, reassembles=())
    looking = [rule(label, Match(label=label), Drop()) for label in ("quic", "fully-encrypted")]
    censor = Censor(profile(*looking, inspection=inspection), Random(0))
    asked = []
    with LabNetwork(plan_of(Across())) as network:
        await network.settled()
        box = Middlebox(network["middlebox"], StackedCensors({"": censor}), "middlebox-eth0")
        with box.attached() as queue:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(box.run, queue)
                flow = Flow(network, version, protocol)
                await flow.open()
                for silence_s in (0, 0.5 * IDLE_S, IDLE_S + 3):
                    await trio.sleep(silence_s)
                    before = censor.packets_asked
                    await flow.exchange()
                    asked.append(censor.packets_asked - before)
                flow.close()
                nursery.cancel_scope.cancel()
    return asked


ENDS = {True: "inside", False: "outside"}


async def play(folder: Path) -> None:
    found: dict[str, object] = {}
    for version in FAMILIES:
        for protocol in PROTOCOLS:
            for name, boxed in (("watching", WATCHING), ("settling", SETTLING)):
                for with_errors in (False, True):
                    key = f"{name} {protocol} {version}" + (" with errors" if with_errors else "")
                    found[key] = await across(boxed, version, protocol, with_errors=with_errors)
            found[f"silent {protocol} {version}"] = await after_silence(version, protocol)
    (folder / "found.json").write_text(json.dumps(found))


def main(folder: str) -> int:
    trio.run(play, Path(folder), clock=LabClock())
    return 0
