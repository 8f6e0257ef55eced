"""Copies what a program writes to its log and notices when it says it is ready; starts nothing."""

from __future__ import annotations

from pathlib import Path

import trio

from testbed.transport.interface import TransportError

MAX_LOG_BYTES = 64 << 20
"""A program that logs more has gone wrong, and would fill the disk."""


class ProgramLog:
    """What a program says, on its way to a file."""

    def __init__(self, stream: trio.abc.ReceiveStream, path: Path, awaited: str) -> None:
        """Describe it; `awaited` are the words of a program that is ready."""
        self.ready = trio.Event()
        """It has said so."""
        self.ended = trio.Event()
        """All it wrote is in the file."""
        self._stream = stream
        self._path = path
        self._awaited = awaited.encode()

    async def copy(self) -> None:
        """Copy until the program has closed its end.

        TransportError: it wrote more than `MAX_LOG_BYTES`.
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
                        tail = tail[-len(self._awaited) :]
        finally:
            self.ended.set()
            await trio.aclose_forcefully(self._stream)
