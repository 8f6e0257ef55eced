"""Carries a call's signalling as messages, through the chat server; what they say is an engine's.

A message is a letter, a length (4 bytes, big-endian) and content.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import trio

from testbed.lab.nodes.host import LabHost
from testbed.lab.nodes.tls_streams import TlsStream, connect_tls
from testbed.lab.servers.messenger_servers import JOIN
from testbed.record.observation import CallRecord
from testbed.transport.interface import Address


class End(Protocol):
    """One end of a call by a real engine."""

    host: LabHost
    signalling: TlsStream | None


async def sign_in(
    ends: Iterable[End], chat_server: Address, job: Path, within_s: float
) -> CallRecord | None:
    """Sign ends in at the messenger's server: what one sends from then on, the other gets.

    If they cannot within that time, give the record of the call that cannot be made.
    """
    began_at = trio.current_time()
    reason = f"within {within_s:g} s"
    with trio.move_on_after(within_s):
        try:
            for end in ends:
                end.signalling = await connect_tls(end.host, chat_server, job)
                await end.signalling.send_all(JOIN)
                await end.signalling.receive_some()
        except (OSError, trio.BrokenResourceError) as error:
            reason = f": {error}"
        else:
            return None
    took_s = trio.current_time() - began_at
    return CallRecord(reason=f"no signalling {reason}", ended_s=took_s)


def message(kind: bytes, content: bytes = b"") -> bytes:
    """Return a message as it stands on a stream."""
    return kind + len(content).to_bytes(4, "big") + content


async def receive(stream: trio.abc.ReceiveStream) -> tuple[bytes, bytes]:
    """Wait for a message; give its letter and its content."""
    head = await _exactly(stream, 5)
    return head[:1], await _exactly(stream, int.from_bytes(head[1:], "big"))


async def _exactly(stream: trio.abc.ReceiveStream, count: int) -> bytes:
    received = b""
    while len(received) < count:
        chunk = await stream.receive_some(count - len(received))
        if not chunk:
            await trio.sleep_forever()  # a program that has ended is for its host to report
        received += chunk
    return received
