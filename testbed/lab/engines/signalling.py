"""Carry a call's signalling between its ends as messages, through the messenger's chat server.

A message is a letter, a length (4 bytes, big-endian) and content. The engine defines the letters
and the content.
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
    """One end of a call that has signalling."""

    host: LabHost
    signalling: TlsStream | None


async def sign_in(
    ends: Iterable[End], chat_server: Address, job: Path, within_s: float
) -> CallRecord | None:
    """Sign both ends in at the messenger's server, which then forwards what one sends to the other.

    Return None, or, if they cannot sign in within `within_s`, the record of the failed call.
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
    """Return a message as it is sent on a stream."""
    return kind + len(content).to_bytes(4, "big") + content


async def receive(stream: trio.abc.ReceiveStream) -> tuple[bytes, bytes]:
    """Wait for a message, and return its letter and its content."""
    head = await _exactly(stream, 5)
    return head[:1], await _exactly(stream, int.from_bytes(head[1:], "big"))


async def _exactly(stream: trio.abc.ReceiveStream, count: int) -> bytes:
    received = b""
    while len(received) < count:
        chunk = await stream.receive_some(count - len(received))
        if not chunk:
            await trio.sleep_forever()  # the host reports a program that has ended
        received += chunk
    return received
