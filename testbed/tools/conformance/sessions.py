"""The network on which transports are tested, and the connected sessions that rules use."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import median

import trio

from testbed.censor.packet import Direction
from testbed.experiment.link import Link, Links
from testbed.lab.net import qdisc
from testbed.lab.net.addresses import OUTSIDE
from testbed.lab.net.network import LabNetwork
from testbed.lab.net.plan import plan_of
from testbed.lab.net.topology import CallTopo
from testbed.lab.net.udp import BoundUdp
from testbed.lab.nodes.host import LabHost, tls_of
from testbed.transport.interface import Address, ServerInfo, Transport

RULE_LIMIT_S = 90.0
"""How long testing one rule may take (virtual s)."""
_ACCESS = Link(delay_ms=5, rate_mbps=100)
_ACCESS_ENDS = (
    ("caller-gw", "caller-gw-eth1", Direction.UP),
    ("access", "access-eth0", Direction.DOWN),
)
_LINKS = Links(source="assumed: 40 ms round-trip time", access=_ACCESS, backbone=Link(delay_ms=15))
_SERVER_PORT, _RELAY_PORT = 443, 3478
_IN_FLIGHT_S = 0.5
"""The longest time for which a datagram is in flight."""
_GREETINGS, _GREET_EVERY_S = 20, 0.5
_WAIT_S = 3.0
"""How long to wait for outstanding datagrams after the last one."""


class CheckFailed(Exception):  # noqa: N818 - a verdict, not an error of ours
    """A transport breaks a rule; the message says what was observed."""


class Bench:
    """A network without a censor, and a transport to be tested in it."""

    def __init__(self, network: LabNetwork, transport: Transport, job: Path) -> None:
        self.transport = transport
        self.verdicts: dict[str, tuple[bool, str]] = {}
        """By rule: whether the transport obeys it, and what was observed."""
        self.arrivals: dict[str, list[int]] = {}
        """By scene: when each datagram of an exchange arrived, since the network was built (ns)."""
        self._scene = ""
        self._network = network
        self._job = job
        self._hosts = 0
        self._opened_at = trio.current_time()

    @classmethod
    @asynccontextmanager
    async def opened(cls, transport: Transport, job: Path) -> AsyncIterator[Bench]:
        """Build the network, and yield the bench."""
        with LabNetwork(plan_of(CallTopo(links=_LINKS, seed=1))) as network:
            await network.settled()
            yield cls(network, transport, job)

    def note_arrival(self, now: float) -> None:
        """Record that a datagram of an exchange arrived."""
        arrivals = self.arrivals.setdefault(self._scene, [])
        arrivals.append(round((now - self._opened_at) * 1e9))

    async def judge(self, rule: str, check: Callable[[], Awaitable[str]]) -> None:
        """Test a rule and record the result; a rule that was broken before stays broken."""
        if rule in self.verdicts and not self.verdicts[rule][0]:
            return
        try:
            with trio.fail_after(RULE_LIMIT_S):
                self.verdicts[rule] = (True, await check())
        except trio.TooSlowError:
            self.verdicts[rule] = (False, f"did not end within {RULE_LIMIT_S:g} s")
        except BaseException as error:
            self._note_failure(rule, error)

    async def play(self, rule: str, scene: Callable[[Bench], Awaitable[None]]) -> None:
        """Run a scene, which judges rules; if the scene itself fails, `rule` counts as broken."""
        self._scene = rule
        try:
            await scene(self)
        except BaseException as error:
            self._note_failure(rule, error)

    def _note_failure(self, rule: str, error: BaseException) -> None:
        """Record what a transport raised, also by `sys.exit`; raise again what is not its own."""
        if not _is_of_a_transport(error):
            raise error
        self.verdicts[rule] = (False, _reason(error))

    @asynccontextmanager
    async def host(self, node: str) -> AsyncIterator[LabHost]:
        """Yield a host on a node; on exit, everything started on it is ended."""
        self._hosts += 1
        state_dir = self._job / "nodes" / f"{node}-{self._hosts}"
        state_dir.mkdir(parents=True)
        rng = Random(f"{node} {self._hosts}")
        async with trio.open_nursery() as nursery:
            host = LabHost(self._network[node], state_dir, rng, tls_of(self._job), nursery)
            try:
                yield host
            finally:
                await host.close()
            nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def server(self) -> AsyncIterator[ServerInfo]:
        """Run the transport's server, and yield how clients reach it."""
        relay = Address(self._network["relay"].address, _RELAY_PORT)
        async with self.host("bridge") as bridge:
            yield await self.transport.serve(bridge, Address(bridge.address, _SERVER_PORT), relay)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """Yield a client connected to its own server, once a datagram has reached the relay."""
        # Our own code takes no virtual time between sessions. Without this sleep, the last packets
        # of the previous session would reach this one's server, from a client that is gone.
        await trio.sleep(_IN_FLIGHT_S)
        async with (
            self.host("relay") as relay_host,
            self.server() as server,
            self.host("caller") as caller,
        ):
            relay = await relay_host.serve_udp(Address(relay_host.address, _RELAY_PORT))
            began_at = trio.current_time()
            with trio.fail_after(RULE_LIMIT_S):
                channel = await self.transport.connect(caller, server)
            async with channel:
                session = Session(self, channel, relay, caller, relay_host)
                await session.greet()
                session.set_up_s = trio.current_time() - began_at
                yield session

    @contextmanager
    def impaired(self, *, loss: float, reordered: float = 0.0) -> Iterator[None]:
        """Make the access link lose and reorder shares of the packets in each direction."""
        link = Link(_ACCESS.delay_ms, rate_mbps=_ACCESS.rate_mbps, loss=loss)
        self._set_access(link, reordered)
        try:
            yield
        finally:
            self._set_access(_ACCESS)

    def _set_access(self, link: Link, reordered: float = 0.0) -> None:
        rng = Random("access")
        for name, interface, sends in _ACCESS_ENDS:
            node = self._network[name]
            request = qdisc.netem(link.direction(sends), rng.getrandbits(63), reordered=reordered)
            index = node.interface(interface).ifindex
            with node.netlink() as netlink:
                netlink.tc("replace", index=index, handle="1:", **request)

    @contextmanager
    def black_hole(self) -> Iterator[None]:
        """Make every packet to the outside vanish without an answer."""
        with self._network["access"].netlink() as netlink:
            netlink.route("add", dst=OUTSIDE, type="blackhole")
            try:
                yield
            finally:
                netlink.route("del", dst=OUTSIDE, type="blackhole")

    def left_over(self) -> set[str]:
        """Return descriptions of all current processes, sockets and network interfaces."""
        found = set()
        for process in Path("/proc").glob("[0-9]*"):
            if (process / "cmdline").read_bytes():  # kernel threads have none
                found.add(f"process {process.name}, {(process / 'comm').read_text().strip()}")
        for descriptor in Path("/proc/self/fd").iterdir():
            if descriptor.is_symlink() and "socket:" in (goal := str(descriptor.readlink())):
                found.add(f"{goal} of the lab")
        for node in self._network.nodes.values():
            with node.namespace.entered():
                found |= {f"interface {name} of {node.name}" for _, name in socket.if_nameindex()}
        return found


@dataclass
class Session:
    """A connected client, and the relay to which its server forwards."""

    bench: Bench
    channel: trio.abc.Channel[bytes]
    relay: BoundUdp
    caller: LabHost
    relay_host: LabHost
    set_up_s: float = 0.0
    """The time from connecting until the first datagram reached the relay."""
    delays_s: dict[str, list[float]] = field(default_factory=dict)
    """By direction: the one-way delays of the last exchange."""
    _source: Address | None = None
    _exchanges: int = 0

    async def greet(self) -> None:
        """Send until the relay receives a datagram, from which it learns the return address."""
        for _ in range(_GREETINGS):
            await self.channel.send(b"greetings")
            with trio.move_on_after(_GREET_EVERY_S):
                _, self._source = await self.relay.receive()
                return
        limit_s = _GREETINGS * _GREET_EVERY_S
        raise CheckFailed(f"it connected, but nothing reached the relay within {limit_s:g} s")

    async def relay_sends(self, datagram: bytes) -> None:
        """Send a datagram from the relay to the client."""
        assert self._source is not None
        await self.relay.send(datagram, self._source)

    async def relay_hears(self, datagram: bytes) -> bool:
        """Return whether this datagram soon reaches the relay."""
        with trio.move_on_after(_WAIT_S):
            while (await self.relay.receive())[0] != datagram:
                pass
            return True
        return False

    async def client_hears(self, datagram: bytes) -> bool:
        """Return whether this datagram soon reaches the client."""
        with trio.move_on_after(_WAIT_S):
            while await self.channel.receive() != datagram:
                pass
            return True
        return False

    async def exchange(
        self, count: int, gap_s: float, wait_s: float = _WAIT_S
    ) -> tuple[list[int], list[int]]:
        """Send numbered datagrams in both directions at once.

        Wait up to `wait_s` after the last one for those that are outstanding. Return the numbers
        in the order of arrival: up, then down.
        """
        self._exchanges += 1
        self.delays_s = {"up": [], "down": []}
        heard: tuple[list[int], list[int]] = ([], [])
        began_at = trio.current_time()

        async def receive_up() -> bytes:
            return (await self.relay.receive())[0]

        async def send(way: str, send_one: Callable[[bytes], Awaitable[object]]) -> None:
            for k in range(count):
                await trio.sleep_until(began_at + k * gap_s)
                await send_one(f"{way} {self._exchanges} {k} ".encode().ljust(100, b"."))

        async def hear(
            way: str, receive: Callable[[], Awaitable[bytes]], numbers: list[int]
        ) -> None:
            while len(set(numbers)) < count:
                words = (await receive()).split()
                if words[:2] == [way.encode(), b"%d" % self._exchanges]:
                    number, now = int(words[2]), trio.current_time()
                    numbers.append(number)
                    self.delays_s[way].append(now - began_at - number * gap_s)
                    self.bench.note_arrival(now)

        with trio.move_on_at(began_at + count * gap_s + wait_s):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(hear, "up", receive_up, heard[0])
                nursery.start_soon(hear, "down", self.channel.receive, heard[1])
                nursery.start_soon(send, "up", self.channel.send)
                nursery.start_soon(send, "down", self.relay_sends)
        return heard

    def median_delay_ms(self, way: str) -> float:
        """Return the median one-way delay of the last exchange in a direction (ms)."""
        return median(self.delays_s[way]) * 1e3


def _is_of_a_transport(error: BaseException) -> bool:
    """Return whether this may be a transport's error: neither a cancellation nor an interrupt."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_of_a_transport, error.exceptions))
    return isinstance(error, Exception | SystemExit)


def _reason(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(dict.fromkeys(_reason(inner) for inner in error.exceptions))
    if isinstance(error, CheckFailed):
        return str(error)
    return f"{type(error).__name__}: {error}"
