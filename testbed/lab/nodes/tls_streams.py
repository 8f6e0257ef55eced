"""TLS between people's programs and a messenger's servers; what they say in it is others'."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import trio

from testbed.experiment.cell import CERTIFICATE_FILE, CHAT_SERVER_NAME, KEY_FILE
from testbed.lab.nodes.host import LabHost
from testbed.transport.interface import Address

_CHUNK_BYTES = 65536


class PromptStream(trio.abc.HalfCloseableStream):
    """A TCP stream that asks the kernel at once, and lets others have a turn only when it waits.

    trio's own yields in each call, and reads before it waits; in a guest each turn of the event
    loop is a system call.
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all. BrokenResourceError, ClosedResourceError: it cannot be."""
        await trio.lowlevel.checkpoint_if_cancelled()
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._descriptor)
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the kernel takes something."""
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """Say that nothing more comes."""
        await self._stream.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Wait for bytes; none: the end. BrokenResourceError, ClosedResourceError."""
        while True:
            await trio.lowlevel.wait_readable(self._descriptor)
            try:
                return os.read(self._descriptor, max_bytes or _CHUNK_BYTES)
            except BlockingIOError:
                continue
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error

    @property
    def _descriptor(self) -> int:
        descriptor: int = self._stream.socket.fileno()
        if descriptor < 0:
            raise trio.ClosedResourceError
        return descriptor

    async def aclose(self) -> None:
        """Close the connection."""
        await self._stream.aclose()


TlsStream = trio.SSLStream[PromptStream]


async def connect_tls(host: LabHost, server: Address, job: Path) -> TlsStream:
    """Connect to a server of the messenger's. OSError, trio.BrokenResourceError: no connection."""
    context = ssl.create_default_context(cafile=job / CERTIFICATE_FILE)
    stream = PromptStream(await host.open_tcp(server))
    tls = trio.SSLStream(stream, context, server_hostname=CHAT_SERVER_NAME, https_compatible=True)
    await tls.do_handshake()
    return tls


def server_context(job: Path) -> ssl.SSLContext:
    """Give what a server of the messenger's does TLS by."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(job / CERTIFICATE_FILE, job / KEY_FILE)
    return context


def serve_tls(stream: trio.SocketStream, context: ssl.SSLContext) -> TlsStream:
    """Do TLS on a connection that a client has made."""
    return trio.SSLStream(PromptStream(stream), context, server_side=True, https_compatible=True)
