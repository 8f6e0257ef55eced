"""Datagrams over a TCP socket, by threads where many come and go; how they are framed is told.

In a guest each system call and each wake-up of a task costs more than a datagram does. A thread
that waits for one socket, or one time, needs a single system call for that, where trio's event loop
needs three. A guest has one processor, on which nobody is interrupted, so what threads do repeats.
"""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import SimpleQueue
from threading import Lock, Thread

import trio

QUEUE_DATAGRAMS = 50
"""What is held for a stream while it is blocked: one second of 20 ms voice."""
_CHUNK_BYTES = 65536


class TcpDatagrams(trio.abc.Channel[bytes]):
    """Datagrams over a TCP connection (`testbed.transport.interface.TimedChannel`).

    Reliable and in order. A sender never waits: what the kernel does not take at once waits in a
    queue of `QUEUE_DATAGRAMS`, and beyond it is dropped, newest first, and counted in `dropped`.
    After a write failure all is dropped. `read` and `write` are for threads; once anything reads
    by `read` or `receive_stamped`, nothing comes by `receive`.
    """

    def __init__(
        self,
        stream: trio.SocketStream,
        frame: Callable[[bytes], bytes],
        take: Callable[[bytearray], bytes | None],
    ) -> None:
        self.dropped = 0
        self._stream = stream
        self._frame, self._take = frame, take
        of_trio = stream.socket
        self._socket = socket.socket(
            of_trio.family, of_trio.type, of_trio.proto, os.dup(of_trio.fileno())
        )
        self._socket.setblocking(True)
        self._unparsed = bytearray()
        self._lock = Lock()
        self._waiting: list[bytes] = []
        """Framed, in order; the first may have been written in part."""
        self._is_broken = False
        self._schedules: SimpleQueue[Sequence[tuple[float, bytes]]] | None = None
        self._arrived: deque[tuple[float, bytes]] | None = None
        self._failure: Exception | None = None
        """What ended the thread that listens, if it was not the connection's end."""

    async def send(self, value: bytes) -> None:
        """Send or queue one datagram. ValueError: longer than 65,535 bytes."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._socket.fileno() < 0:
            raise trio.ClosedResourceError
        self.write(value)

    def write(self, datagram: bytes) -> None:
        """Send or queue one datagram. ValueError: longer than 65,535 bytes."""
        framed = self._frame(datagram)
        with self._lock:
            if self._is_broken or len(self._waiting) > QUEUE_DATAGRAMS:
                self.dropped += 1
                return
            if self._waiting:
                self._waiting.append(framed)
                return
            try:
                framed = framed[self._socket.send(framed, socket.MSG_DONTWAIT) :]
            except BlockingIOError:
                pass
            except OSError:
                self._is_broken = True
                self.dropped += 1
                return
            if framed:
                self._waiting.append(framed)
                Thread(target=self._write_waiting, daemon=True).start()

    def _write_waiting(self) -> None:
        """Write what waits, in a thread, until nothing does."""
        with suppress(OSError):
            while self._waiting:
                self._socket.sendall(self._waiting[0])
                with self._lock:
                    del self._waiting[0]
            return
        with self._lock:
            self._is_broken = True
            self._waiting.clear()

    async def receive(self) -> bytes:
        """Wait for one datagram. EndOfChannel: the other side closed the connection."""
        while (datagram := self._take(self._unparsed)) is None:
            if self._socket.fileno() < 0:
                raise trio.ClosedResourceError
            await trio.lowlevel.wait_readable(self._stream.socket)
            try:
                chunk = self._socket.recv(_CHUNK_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                continue
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error
            if not chunk:
                raise trio.EndOfChannel
            self._unparsed += chunk
        return datagram

    def read(self) -> list[bytes]:
        """Wait for datagrams, in a thread; none: the connection has ended."""
        while not (datagrams := self._taken()):
            try:
                chunk = self._socket.recv(_CHUNK_BYTES)
            except OSError:
                return []
            if not chunk:
                return []
            self._unparsed += chunk
        return datagrams

    def _taken(self) -> list[bytes]:
        datagrams = []
        while (datagram := self._take(self._unparsed)) is not None:
            datagrams.append(datagram)
        return datagrams

    def send_at(self, schedule: Sequence[tuple[float, bytes]], /) -> None:
        """Send or queue datagrams at their times (s, CLOCK_MONOTONIC), which go on from call to
        call."""
        if self._schedules is None:
            self._schedules = SimpleQueue()
            Thread(target=self._write_in_time, args=(self._schedules,), daemon=True).start()
        self._schedules.put(schedule)

    def _write_in_time(self, schedules: SimpleQueue[Sequence[tuple[float, bytes]]]) -> None:
        while schedule := schedules.get():
            for at, datagram in schedule:
                left_s = at - time.monotonic()
                if left_s > 0:
                    time.sleep(left_s)
                self.write(datagram)

    def receive_stamped(self) -> list[tuple[float, bytes]]:
        """Give all that has arrived since this was first called, with the times (s,
        CLOCK_MONOTONIC) at which it was read, without waiting."""
        if self._arrived is None:
            self._arrived = deque()
            Thread(target=self._listen, args=(self._arrived,), daemon=True).start()
        if self._failure is not None:
            raise self._failure
        return [self._arrived.popleft() for _ in range(len(self._arrived))]

    def _listen(self, arrived: deque[tuple[float, bytes]]) -> None:
        try:
            while datagrams := self.read():
                now = time.monotonic()
                arrived.extend((now, datagram) for datagram in datagrams)
        except Exception as error:
            self._failure = error

    def end(self) -> None:
        """Have the threads end that wait for the connection."""
        if self._schedules is not None:
            self._schedules.put(())
        with suppress(OSError):  # it has ended
            self._socket.shutdown(socket.SHUT_RDWR)

    async def aclose(self) -> None:
        """Close the connection; what is queued is dropped."""
        self.end()
        self._socket.close()
        await self._stream.aclose()
