"""Conduct one cell from the topology to the record, as one trio program on one clock.

The order is fixed, because it decides what the censor sees and when:

1. Build the network, attach the middleboxes, and wait until the network has settled.
2. Start the servers: the chat, the messenger's relay, and the transport's server on the bridge.
3. Prepare the call engine on both ends' nodes.
4. At a whole second, connect the transport.
5. At a whole second, dial. The call, the chat and the other traffic run concurrently.
6. Close the nodes, and collect what the engine, the workloads and the middleboxes have recorded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from random import Random

import trio

from testbed.censor.censor import Censor
from testbed.censor.stack import running
from testbed.experiment.cell import TRAFFIC, CaptureAt, Cell, OtherTraffic, Topology
from testbed.experiment.loading import make_transport
from testbed.experiment.netplan import NetworkPlan
from testbed.lab.bottleneck import Bottleneck, bottlenecks
from testbed.lab.chat import chat
from testbed.lab.engines.engine import LabEngine, Setting, Way
from testbed.lab.middlebox import Middlebox
from testbed.lab.net.addresses import MIDDLEBOXES, address_lists
from testbed.lab.net.network import LabNetwork
from testbed.lab.nodes.capture import END, SIDES, capture
from testbed.lab.nodes.closing import closing
from testbed.lab.nodes.host import LOST, LabHost, tls_of
from testbed.lab.nodes.wire_count import WireCount
from testbed.lab.servers.messenger_servers import serve_chat
from testbed.lab.traffic import share_line, use
from testbed.plugins import Plugins
from testbed.record.observation import (
    CallRecord,
    ChatRecord,
    MiddleboxRecord,
    Observation,
    TrafficRecord,
    TransportRecord,
)
from testbed.transport.client_side import ClientSide
from testbed.transport.interface import (
    Address,
    ServerInfo,
    Transport,
    TransportError,
)

BEGIN_EVERY_S = 1.0
"""A call begins at a multiple of this (s), so that its start is independent of what came before."""
TRANSPORT_CONNECT_S = 30.0
"""A transport that has not connected after this time (s) has failed, and with it the call."""
BRIDGE_PORT = 443
WEB_PORT = 8443
"""The port of a web server abroad that belongs to no messenger; it shares a node."""
LATEST_END_S = 600.0
"""The time that a cell may take beyond its call (virtual s); a cell that takes longer is stuck."""


class StuckError(Exception):
    """A cell waits for something that never happens."""


_ENGINES: Mapping[str, LabEngine] = dict(Plugins("testbed.lab.engines", "ENGINE"))
"""All are imported now, before a guest draws its random numbers afresh (`testbed.guest.boot`)."""
_SERVER_NODES = {"foreign": "relay", "domestic": "domestic"}
_ENDS = ("caller", "callee")
_INSIDE_ENDS: Mapping[Topology, Sequence[str]] = {
    "one-sided": ("caller",),
    "both-sides": _ENDS,
    "domestic-bridge": ("caller",),
}
"""The ends that are inside the censored network, and so use a transport with a bridge."""


async def conduct(
    cell: Cell,
    plan: NetworkPlan,
    frames: Mapping[str, Sequence[Sequence[bytes]]],
    job: Path,
    *,
    pcap: CaptureAt | None = None,
) -> Observation:
    """Run a cell on a network; `frames` is the encoded speech by direction, `job` the folder.

    With `pcap`, packets are captured at the middleboxes or at the call's ends.

    Any exception means that the cell could not be conducted (a program ended, the kernel lacks
    something). A call or a transport that fails is a result, not an error.

    Raises:
        StuckError: The cell did not end within LATEST_END_S after its call.
    """
    began_at = trio.current_time()
    rng = Random(f"cell {cell.seed}")
    with LabNetwork(plan) as network:
        boxes = _boxes(cell, network)
        limit_s = cell.duration_s + LATEST_END_S
        with ExitStack() as stack, trio.move_on_after(limit_s) as limit:
            lines = bottlenecks(network)
            held: list[Middlebox | Bottleneck] = [*boxes.values(), *lines]
            queues = [stack.enter_context(each.attached()) for each in held]
            async with trio.open_nursery() as nursery:
                for each, queue in zip(held, queues, strict=True):
                    nursery.start_soon(each.run, queue)
                await network.settled()
                hosts = {
                    name: _host(network, name, job, rng, nursery)
                    for name in (*_ENDS, "bridge", "relay", "domestic")
                }
                for name in boxes if pcap == "middlebox" else ():
                    hosts[name] = _host(network, name, job, Random(0), nursery)
                    await capture(hosts[name], SIDES)
                for name in _ENDS if pcap == "ends" else ():
                    await capture(hosts[name], END)
                begin = partial(_begin, boxes.values(), lines, network, nursery)
                async with closing(hosts.values()):
                    conducted = await _conduct(cell, frames, job, hosts, begin, rng)
                nursery.cancel_scope.cancel()
        if limit.cancelled_caught:
            raise StuckError(f"the cell did not end within {limit_s:g} virtual s")
    dialled_at, transport_record, call_record, chat_record, traffic_records = conducted
    return Observation(
        transport=transport_record,
        call=call_record,
        chat=chat_record,
        traffic=traffic_records,
        middleboxes=_records(boxes, dialled_at),
        virtual_s=trio.current_time() - began_at,
        lines={
            line.name: line.record(dialled_at, dialled_at + call_record.ended_s) for line in lines
        },
    )


def _boxes(cell: Cell, network: LabNetwork) -> dict[str, Middlebox]:
    """Return the topology's middleboxes by name, each with its own censors and generators."""
    lists = address_lists(network[_SERVER_NODES["foreign"]].address)
    boxes = {}
    for number, name in enumerate(MIDDLEBOXES[cell.topology], 1):
        of_box = f" {number}" if number > 1 else ""
        censors = running(cell.censor, f"censor {cell.seed}{of_box}", lists, cell.local_time)
        boxes[name] = Middlebox(network[name], censors, inside_interface=f"{name}-eth0")
    return boxes


def _records(boxes: Mapping[str, Middlebox], dialled_at: float) -> dict[str, MiddleboxRecord]:
    """Return what each censor did: by its node, or by its part if it is one of a stack."""
    found = {}
    for node, box in boxes.items():
        for part, censor in box.censors.parts.items():
            own = part if len(box.censors.parts) > 1 else ""
            name = f"{node}: {own}" if own and len(boxes) > 1 else own or node
            found[name] = _record_of(censor, own, dialled_at)
    return found


def _record_of(censor: Censor, part: str, dialled_at: float) -> MiddleboxRecord:
    return MiddleboxRecord(
        packets_asked=censor.packets_asked,
        rules={name: asdict(counters) for name, counters in censor.counters.items()},
        events=[(event.at - dialled_at, event.flow, event.what) for event in censor.events],
        part=part,
    )


def _begin(
    boxes: Iterable[Middlebox],
    lines: Iterable[Bottleneck],
    network: LabNetwork,
    nursery: trio.Nursery,
    dialled_at: float,
) -> None:
    """Let everything begin whose times are counted from dialling."""
    for box in boxes:
        box.censors.begin(dialled_at)
    for line in lines:
        line.begin(dialled_at)
    if network.changes:
        nursery.start_soon(network.change_from, dialled_at)


def _host(network: LabNetwork, name: str, job: Path, rng: Random, nursery: trio.Nursery) -> LabHost:
    state_dir = job / "nodes" / name
    state_dir.mkdir(parents=True)
    return LabHost(network[name], state_dir, Random(rng.random()), tls_of(job), nursery)


async def _conduct(
    cell: Cell,
    frames: Mapping[str, Sequence[Sequence[bytes]]],
    job: Path,
    hosts: dict[str, LabHost],
    begin: Callable[[float], None],
    rng: Random,
) -> tuple[float, TransportRecord, CallRecord, ChatRecord, list[TrafficRecord]]:
    messenger = cell.messenger
    servers = hosts[_SERVER_NODES[messenger.servers]]
    relay = Address(servers.address, messenger.relay_port)
    chat_server = await serve_chat(servers, messenger.chat.port, job)
    setting = Setting(messenger, rng, frames, chat_server, job)
    engine = _ENGINES[messenger.engine].make(setting)
    await engine.serve_relay(servers, relay)

    transport = make_transport(cell.transport)
    bridge = hosts["bridge"]
    server = await transport.serve(bridge, Address(bridge.address, BRIDGE_PORT), relay)
    await engine.prepare(hosts["caller"], hosts["callee"])
    abroad = hosts["relay"] if cell.topology == "domestic-bridge" else bridge
    needs_web = cell.other_traffic or cell.links.neighbour != "none"
    web_server = await serve_chat(abroad, WEB_PORT, job) if needs_web else chat_server
    wire = WireCount(hosts["caller"].node, *dict.fromkeys((chat_server, web_server)))
    await trio.sleep_until(_next_beginning())

    call_record, chat_record, carried = (
        CallRecord(),
        ChatRecord(str(chat_server)),
        TransportRecord(),
    )
    users = [hosts[name] for name in _users(transport, cell.topology)]
    channels = await _connect(transport, users, server, carried)
    carried.set_up = wire.count()
    if carried.connect_s is None:
        _let_programs_end(hosts.values())
    await trio.sleep_until(_next_beginning())
    dialled_at = trio.current_time()
    begin(dialled_at)
    traffic_records: list[TrafficRecord] = []
    async with trio.open_nursery() as workloads:
        workloads.start_soon(
            chat,
            hosts["caller"],
            chat_server,
            messenger.chat,
            job,
            cell.duration_s,
            chat_record,
        )
        if (neighbour := cell.links.neighbour) != "none":
            until = dialled_at + cell.duration_s
            workloads.start_soon(share_line, hosts["caller"], web_server, neighbour, job, until)
        for kind in cell.other_traffic:
            goal = chat_server if TRAFFIC[kind].by == "messenger" else web_server
            workloads.start_soon(_traffic, cell, kind, hosts["caller"], goal, job, traffic_records)
        if carried.connect_s is None:
            call_record.reason = f"transport: {carried.reason}"
        else:
            caller, callee = (Way(hosts[name], relay, channels.get(name)) for name in _ENDS)
            call_record = await engine.call(caller, callee, cell.duration_s)
            carried.call = wire.count()
            _let_programs_end(hosts.values())  # the chat may go on
    for one in traffic_records:
        one.began_s -= dialled_at
    traffic_records.sort(key=lambda one: one.began_s)
    return dialled_at, carried, call_record, chat_record, traffic_records


def _users(transport: Transport, topology: Topology) -> Sequence[str]:
    """Return the ends that use a transport."""
    if isinstance(transport, ClientSide):
        return _ENDS if transport.ends == "both" else _ENDS[:1]
    return _INSIDE_ENDS[topology]


def _let_programs_end(hosts: Iterable[LabHost]) -> None:
    for host in hosts:
        host.let_end()


async def _traffic(
    cell: Cell,
    kind: OtherTraffic,
    host: LabHost,
    server: Address,
    job: Path,
    records: list[TrafficRecord],
) -> None:
    """Generate one kind of other traffic from its start time until the call's planned end."""
    now = trio.current_time()
    await trio.sleep_until(now + TRAFFIC[kind].begins * cell.duration_s)
    records.append(await use(host, server, kind, job, now + cell.duration_s))


async def _connect(
    transport: Transport, hosts: Sequence[LabHost], server: ServerInfo, record: TransportRecord
) -> dict[str, trio.abc.Channel[bytes]]:
    """Connect a transport on one host after another; return the channels by the host's name.

    Record the longest connection time, or why a host could not connect.
    """
    channels: dict[str, trio.abc.Channel[bytes]] = {}
    longest_s = 0.0
    for host in hosts:
        began_at = trio.current_time()
        try:
            with trio.fail_after(TRANSPORT_CONNECT_S):
                channels[host.name] = await transport.connect(host, server)
        except (TransportError, trio.TooSlowError, *LOST) as error:
            reason = _why_not(error)
            record.reason = reason if len(hosts) == 1 else f"{host.name}: {reason}"
            for channel in channels.values():
                await channel.aclose()
            return {}
        longest_s = max(longest_s, trio.current_time() - began_at)
    record.connect_s = longest_s
    return channels


def _why_not(error: Exception) -> str:
    """Return the reason why a transport has not connected, in words."""
    match error:
        case trio.TooSlowError():
            return f"no connection within {TRANSPORT_CONNECT_S:g} s"
        case TransportError() | OSError() if str(error):
            return str(error)
    return f"{type(error).__name__} while it connected: {error}".removesuffix(": ")


def _next_beginning() -> float:
    return math.ceil(trio.current_time() / BEGIN_EVERY_S) * BEGIN_EVERY_S
