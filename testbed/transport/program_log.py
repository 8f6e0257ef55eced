"""Copies a program's output to its log, and notices when it says that it is ready."""

from __future__ import annotations

from pathlib import Path

import trio

from testbed.transport.interface import TransportError

MAX_LOG_BYTES = 64 << 20
"""The largest log: a program that writes more has gone wrong, and would fill the disk."""


class ProgramLog:
    """Copies one program's output to a file."""

    def __init__(self, stream: trio.abc.ReceiveStream, path: Path, awaited: str) -> None:
        """Describe the copy from `stream` to `path`; a ready program says the `awaited` words."""
        self.ready = trio.Event()
        """Set when the program has said the awaited words."""
        self.ended = trio.Event()
        """Set when all of the output is in the file."""
        self._stream = stream
        self._path = path
        self._awaited = awaited.encode()

    async def copy(self) -> None:
        """Copy until the program has closed its output.

        Raises:
            TransportError: It wrote more than `MAX_LOG_BYTES`.
        """
        tail, copied_bytes = b"", 0
        try:
            with self._path.open("wb", buffering=0) as log:
                async for chunk in self._stream:
                    copied_bytes += len(chunk)
                    if copied_bytes > MAX_LOG_BYTES:
                        raise TransportError(f"{self._path.name} is over {MAX_LOG_BYTES} bytes")
                    log.write(chunk)
                    if not self.ready.is_set():
                        tail += chunk
                        if self._awaited in tail:
                            self.ready.set()
                        # The words may be cut by the end of this chunk.
                        tail = tail[-len(self._awaited) :]
        finally:
            self.ended.set()
            await trio.aclose_forcefully(self._stream)
