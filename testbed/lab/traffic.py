"""Generate a person's other traffic during a call: a voice message, a web page, a download.

Each kind is one TLS connection on which objects are requested one after another. A request is 8
bytes, which say how much is sent up and how much to send down, followed by the data up; the answer
is the data down. A censor sees TLS to a server, as it would in reality. The traffic does not go
through the transport.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import count
from pathlib import Path

import trio

from testbed.experiment.cell import TRAFFIC, OtherTraffic
from testbed.experiment.link import Neighbour
from testbed.lab.nodes.host import LabHost
from testbed.lab.nodes.tls_streams import TlsStream, connect_tls
from testbed.lab.servers.messenger_servers import OBJECT, OBJECTS
from testbed.record.observation import TrafficRecord
from testbed.transport.interface import Address

_PIECE_BYTES = 65_536
_ENDLESS_BYTES = 4_000_000_000
_SEGMENT_S, _SEGMENT_BYTES = 4.0, 2_500_000


async def share_line(
    host: LabHost, server: Address, kind: Neighbour, job: Path, until: float
) -> None:
    """Use a line as somebody else at home does, from now until a time.

    It begins at the caller's node. On the router itself, TCP would see its packets wait in the
    queue, and hold the others back (TCP small queues).
    """
    with trio.move_on_at(until), suppress(OSError, trio.BrokenResourceError):
        stream = await connect_tls(host, server, job)
        try:
            await stream.send_all(OBJECTS)
            await (_upload(stream) if kind == "upload" else _watch(stream))
        finally:
            await trio.aclose_forcefully(stream)


async def _upload(stream: TlsStream) -> None:
    """Upload without an end."""
    await stream.send_all(OBJECT.pack(_ENDLESS_BYTES, 0))
    while True:
        await stream.send_all(bytes(_PIECE_BYTES))


async def _watch(stream: TlsStream) -> None:
    """Fetch one segment of a video after another, each when the one before it is being shown."""
    began_at = trio.current_time()
    for number in count():
        await trio.sleep_until(began_at + number * _SEGMENT_S)
        await stream.send_all(OBJECT.pack(0, _SEGMENT_BYTES))
        missing = _SEGMENT_BYTES
        while missing > 0:
            if not (chunk := await stream.receive_some()):
                return
            missing -= len(chunk)


async def use(
    host: LabHost, server: Address, kind: OtherTraffic, job: Path, until: float
) -> TrafficRecord:
    """Generate one kind of traffic now; it has failed if it is not done by `until`."""
    began_at = trio.current_time()
    record = TrafficRecord(kind, began_at)
    with trio.move_on_at(until), suppress(OSError, trio.BrokenResourceError):
        stream = await connect_tls(host, server, job)
        try:
            record.connected_s = trio.current_time() - began_at
            await stream.send_all(OBJECTS)
            for up_bytes, down_bytes in TRAFFIC[kind].objects:
                await stream.send_all(OBJECT.pack(up_bytes, down_bytes) + bytes(up_bytes))
                received_bytes = 0
                while received_bytes < down_bytes:
                    chunk = await stream.receive_some()
                    if not chunk:
                        return record
                    received_bytes += len(chunk)
                    record.payload_bytes += len(chunk)
                record.payload_bytes += up_bytes
            record.took_s = trio.current_time() - began_at
        finally:
            await trio.aclose_forcefully(stream)
    return record
