"""Conducts one cell from the topology to the record; one trio program, one process, one clock."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from random import Random

import trio

from testbed.call.dialects import DIALECTS
from testbed.cell import Cell
from testbed.censor.censor import Censor
from testbed.lab.capture import capture
from testbed.lab.chat import chat
from testbed.lab.engine import CallEngine, ModelEngine, Way
from testbed.lab.host import LabHost, tls_of
from testbed.lab.middlebox import Middlebox
from testbed.lab.network import LabNetwork
from testbed.lab.ntgcalls import NtgcallsEngine
from testbed.lab.record import CallRecord, CellRecord, ChatRecord, TransportRecord
from testbed.lab.reflector import serve_reflector
from testbed.lab.servers import run_relay, serve_chat
from testbed.lab.topology import ADDRESS_LISTS, OneSided
from testbed.lab.wire import WireCount
from testbed.loading import make_transport
from testbed.transport import Address, ServerInfo, Transport, TransportError

BEGIN_EVERY_S = 1.0
"""A call begins at a multiple of this (s), so that what came before does not move it."""
TRANSPORT_CONNECT_S = 30.0
"""A transport that has not connected by then has failed, as a call that is not set up."""
BRIDGE_PORT = 443
LATEST_END_S = 600.0
"""What a cell may take beyond its call (virtual s); one that does waits for what never comes."""


class StuckError(Exception):
    """A cell waits for something that never comes."""


_SERVER_NODES = {"foreign": "relay", "domestic": "domestic"}


async def conduct(
    cell: Cell, frames: Sequence[bytes], job: Path, *, pcap: bool = False
) -> CellRecord:
    """Run a cell; `frames` is the encoded speech, `job` the folder with the cell's files.

    With `pcap`, what crosses the middlebox is captured.

    Raises what kept the cell from being conducted (a program that ended, a kernel that lacks
    something). A call or a transport that fails is a result.
    """
    began_at = trio.current_time()
    rng = Random(f"cell {cell.seed}")
    with LabNetwork(OneSided(links=cell.links, seed=cell.seed)) as network:
        relay = network[_SERVER_NODES["foreign"]].defaultIntf().ip
        lists = {**ADDRESS_LISTS, "messenger-foreign": (relay,)}
        censor = Censor(cell.censor, Random(f"censor {cell.seed}"), lists)
        box = Middlebox(network["middlebox"], censor, inside_interface="middlebox-eth0")
        limit_s = cell.duration_s + LATEST_END_S
        with box.attached() as queue, trio.move_on_after(limit_s) as limit:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(box.run, queue)
                await network.settled()
                hosts = {
                    name: _host(network, name, job, rng, nursery)
                    for name in ("caller", "callee", "bridge", "relay", "domestic")
                }
                if pcap:
                    hosts["middlebox"] = _host(network, "middlebox", job, Random(0), nursery)
                    await capture(hosts["middlebox"])
                try:
                    conducted = await _conduct(cell, frames, job, hosts, rng, nursery)
                finally:
                    for host in hosts.values():
                        await host.close()
                nursery.cancel_scope.cancel()
        if limit.cancelled_caught:
            raise StuckError(f"the cell did not end within {limit_s:g} virtual s")
    dialled_at, transport_record, call_record, chat_record = conducted
    return CellRecord(
        transport=transport_record,
        call=call_record,
        chat=chat_record,
        packets_asked=box.packets_asked,
        rules={name: asdict(counters) for name, counters in censor.counters.items()},
        events=[(event.at - dialled_at, event.flow, event.what) for event in censor.events],
        virtual_s=trio.current_time() - began_at,
    )


def _host(network: LabNetwork, name: str, job: Path, rng: Random, nursery: trio.Nursery) -> LabHost:
    state_dir = job / "nodes" / name
    state_dir.mkdir(parents=True)
    return LabHost(network[name], state_dir, Random(rng.random()), tls_of(job), nursery)


async def _conduct(
    cell: Cell,
    frames: Sequence[bytes],
    job: Path,
    hosts: dict[str, LabHost],
    rng: Random,
    nursery: trio.Nursery,
) -> tuple[float, TransportRecord, CallRecord, ChatRecord]:
    messenger = cell.messenger
    servers = hosts[_SERVER_NODES[messenger.servers]]
    _, make_relay = DIALECTS[messenger.dialect]
    relay = Address(servers.address, messenger.relay_port)
    chat_server = await serve_chat(servers, messenger.chat.port, job)
    engine: CallEngine
    if messenger.engine == "ntgcalls":
        await serve_reflector(servers, relay.port)
        engine = NtgcallsEngine(messenger, rng, chat_server, job)
    else:
        nursery.start_soon(run_relay, servers.bind_udp(relay.port), make_relay())
        engine = ModelEngine(messenger, rng, frames)

    transport = make_transport(cell.transport)
    bridge = hosts["bridge"]
    server = await transport.serve(bridge, Address(bridge.address, BRIDGE_PORT), relay)
    await engine.prepare(hosts["caller"], hosts["callee"])
    wire = await WireCount.started(hosts["caller"], chat_server)
    await trio.sleep_until(_next_beginning())

    call_record, chat_record, carried = (
        CallRecord(),
        ChatRecord(str(chat_server)),
        TransportRecord(),
    )
    caller_channel = await _connect(transport, hosts["caller"], server, carried)
    carried.set_up = await wire.count()
    await trio.sleep_until(_next_beginning())
    dialled_at = trio.current_time()
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
        if caller_channel is None:
            call_record.reason = f"transport: {carried.reason}"
        else:
            caller = Way(hosts["caller"], relay, caller_channel)
            callee = Way(hosts["callee"], relay)
            call_record = await engine.call(caller, callee, cell.duration_s)
            carried.call = await wire.count()
    return dialled_at, carried, call_record, chat_record


async def _connect(
    transport: Transport, host: LabHost, server: ServerInfo, record: TransportRecord
) -> trio.abc.Channel[bytes] | None:
    """Connect a transport and note how long that took; None: it could not, and why is noted."""
    began_at = trio.current_time()
    try:
        with trio.fail_after(TRANSPORT_CONNECT_S):
            channel = await transport.connect(host, server)
    except (TransportError, OSError, trio.TooSlowError) as error:
        record.reason = str(error) or f"no connection within {TRANSPORT_CONNECT_S:g} s"
        return None
    record.connect_s = trio.current_time() - began_at
    return channel


def _next_beginning() -> float:
    return math.ceil(trio.current_time() / BEGIN_EVERY_S) * BEGIN_EVERY_S
