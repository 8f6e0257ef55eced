"""TLS streams between people's programs and a messenger's servers."""

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
    """A TCP stream that yields to other tasks only when it has to wait.

    trio's own stream yields in each call. In a guest, each turn of the event loop is a system call
    and takes virtual time.
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all bytes.

        Raises:
            trio.BrokenResourceError: The connection is broken.
            trio.ClosedResourceError: The stream is closed.
        """
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
        """Wait until the kernel accepts bytes."""
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """Tell the other side that nothing more comes."""
        await self._stream.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Wait for bytes and return them; no bytes: the other side has ended the stream.

        Raises:
            trio.BrokenResourceError: The connection is broken.
            trio.ClosedResourceError: The stream is closed.
        """
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
    """Connect to one of the messenger's servers.

    Raises:
        OSError: There is no connection.
        trio.BrokenResourceError: The handshake failed.
    """
    context = ssl.create_default_context(cafile=job / CERTIFICATE_FILE)
    stream = PromptStream(await host.open_tcp(server))
    tls = trio.SSLStream(stream, context, server_hostname=CHAT_SERVER_NAME, https_compatible=True)
    await tls.do_handshake()
    return tls


def server_context(job: Path) -> ssl.SSLContext:
    """Return the TLS context of the messenger's servers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(job / CERTIFICATE_FILE, job / KEY_FILE)
    return context


def serve_tls(stream: trio.SocketStream, context: ssl.SSLContext) -> TlsStream:
    """Return a client's connection with TLS on top; the handshake comes with its first use."""
    return trio.SSLStream(PromptStream(stream), context, server_side=True, https_compatible=True)
