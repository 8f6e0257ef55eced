"""Reads a fixed number of bytes off a stream, and not one more; knows no protocol."""

import trio


class EarlyEndError(Exception):
    """The stream ended within a message; the message says which and where."""


async def receive_exactly(stream: trio.abc.ReceiveStream, count: int, what: str) -> bytes:
    """Wait for `count` bytes. EarlyEndError: the stream ended; it names `what` was to come."""
    received = bytearray()
    while len(received) < count:
        chunk = await stream.receive_some(count - len(received))
        if not chunk:
            raise EarlyEndError(
                f"the connection was closed after {len(received)} of {count} bytes of {what}"
            )
        received += chunk
    return bytes(received)
