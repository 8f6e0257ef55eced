"""Reads a given number of bytes from a stream, and not one more."""

import trio


class EarlyEndError(Exception):
    """The stream ended within a message of its protocol; the error says within which, and where."""


async def receive_exactly(stream: trio.abc.ReceiveStream, count: int, what: str) -> bytes:
    """Wait for `count` bytes and return them.

    Raises:
        EarlyEndError: The stream ended; the message names `what` was expected.
    """
    received = bytearray()
    while len(received) < count:
        chunk = await stream.receive_some(count - len(received))
        if not chunk:
            raise EarlyEndError(
                f"the connection was closed after {len(received)} of {count} bytes of {what}"
            )
        received += chunk
    return bytes(received)
