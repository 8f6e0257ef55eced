"""Send the chat messages of a person during a call, and record whether and when they arrive.

The chat goes directly to the messenger's server, never through the transport. The server echoes
each message; an echo is the acknowledgement.
"""

from __future__ import annotations

from pathlib import Path

import trio

from testbed.call.messenger import Chat
from testbed.lab.nodes.host import LabHost
from testbed.lab.nodes.tls_streams import TlsStream, connect_tls
from testbed.record.observation import ChatRecord
from testbed.transport.interface import Address


async def chat(
    host: LabHost, server: Address, plan: Chat, job: Path, duration_s: float, record: ChatRecord
) -> None:
    """Send messages at regular times for `duration_s` from now on; record when each is echoed.

    All messages share one connection, so a delayed one delays those after it. A message that has
    not been echoed by the end was lost.
    """
    began_at = trio.current_time()
    count = int(duration_s / plan.interval_s)
    with trio.move_on_at(began_at + duration_s):
        try:
            stream = await connect_tls(host, server, job)
        except (OSError, trio.BrokenResourceError):
            return
        record.connected_s = trio.current_time() - began_at
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_receive, stream, plan.message_bytes, count, began_at, record)
                for k in range(count):
                    await trio.sleep_until(began_at + (k + 0.5) * plan.interval_s)
                    record.sent_s.append(trio.current_time() - began_at)
                    record.acknowledged_s.append(None)
                    await stream.send_all(bytes(plan.message_bytes))
        except* trio.BrokenResourceError:
            pass
        finally:
            await trio.aclose_forcefully(stream)


async def _receive(
    stream: TlsStream,
    message_bytes: int,
    count: int,
    began_at: float,
    record: ChatRecord,
) -> None:
    received_bytes = 0
    for k in range(count):
        while received_bytes < (k + 1) * message_bytes:
            received_bytes += len(await stream.receive_some())
        record.acknowledged_s[k] = trio.current_time() - began_at
