"""Datagrams over a TCP connection, for tasks, for threads, or at given times.

In a guest, each system call and each wake-up of a task costs more than handling a datagram does. A
thread that waits for one socket, or for one moment, needs a single system call for that; trio's
event loop needs three. So whatever moves many datagrams over TCP does it in threads. A guest has
one processor and preempts nobody, so what threads do is reproducible.

There is one class for each way of use:

- `BlockingTcpDatagrams` is for threads: `read` and `write` block the thread, not the event loop.
  A server's forwarder uses it (`testbed.transport.channels.forward_tcp`).
- `TcpDatagrams` is for tasks: a `trio.abc.Channel`, which every transport may return.
- `TimedTcpDatagrams`, which `TcpDatagrams.timed` returns, sends at given times and notes when
  datagrams arrive; one thread does each.

The last two are views of the first, which owns the socket, the framing and the queue.

Sending never waits. The kernel's socket buffer takes most datagrams at once. What it does not take
waits in a queue, which a thread writes; what finds the queue full is dropped. A blocked stream
therefore costs a call its newest datagrams instead of an ever growing delay.
"""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from queue import SimpleQueue
from threading import Lock, Thread

import trio

from testbed.transport.framing import Frame, Take, frame_datagram, take_datagram

QUEUE_DATAGRAMS = 50
"""How many datagrams wait for a blocked stream: one second of 20 ms voice."""
_CHUNK_BYTES = 65536


class BlockingTcpDatagrams(trio.abc.AsyncResource):
    """Datagrams over a TCP connection, for threads. Reliable and in order.

    Nothing else may use `stream` afterwards.
    """

    def __init__(
        self,
        stream: trio.SocketStream,
        *,
        frame: Frame = frame_datagram,
        take: Take = take_datagram,
    ) -> None:
        self.dropped = 0
        """How many datagrams found the queue full or the connection broken."""
        self.stream = stream
        self._frame, self._take = frame, take
        # trio's own socket object has no blocking calls: this is another one for the same
        # connection. Tasks pass MSG_DONTWAIT where they must not block.
        of_trio = stream.socket
        self._socket = socket.socket(
            of_trio.family, of_trio.type, of_trio.proto, os.dup(of_trio.fileno())
        )
        self._socket.setblocking(True)
        self._unparsed = bytearray()
        self._lock = Lock()
        """Guards what is below: writers and the thread that writes the queue share it."""
        self._waiting: list[bytes] = []
        """The queue, framed and in order; a part of the first may have been written."""
        self._is_broken = False

    @property
    def is_closed(self) -> bool:
        """Whether `aclose` has been called."""
        return self._socket.fileno() < 0

    def write(self, datagram: bytes) -> None:
        """Send, queue or drop one datagram, without waiting.

        Raises:
            ValueError: The datagram is longer than the framing can express.
        """
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
        """Write the queue, in a thread, until it is empty."""
        with suppress(OSError):
            while self._waiting:
                # The lock is free during the write, so that others can queue. The datagram stays
                # in the queue meanwhile: as long as there is one, nobody writes past it.
                self._socket.sendall(self._waiting[0])
                with self._lock:
                    del self._waiting[0]
            return
        with self._lock:
            self._is_broken = True
            self._waiting.clear()

    def read(self) -> list[bytes]:
        """Wait, in a thread, for datagrams; an empty list: the connection has ended."""
        while not (datagrams := list(iter(self.take, None))):
            try:
                if not self.receive_bytes():
                    return []
            except OSError:
                return []
        return datagrams

    def take(self) -> bytes | None:
        """Return the next datagram of the bytes that were received; None: it is not yet whole."""
        return self._take(self._unparsed)

    def receive_bytes(self, flags: int = 0) -> bool:
        """Receive more bytes for `take`; False: the other side has closed the connection.

        `flags` are those of recv(2).

        Raises:
            BlockingIOError: There are none yet (with MSG_DONTWAIT).
            OSError: The connection is broken.
        """
        chunk = self._socket.recv(_CHUNK_BYTES, flags)
        self._unparsed += chunk
        return bool(chunk)

    def end(self) -> None:
        """End the connection, and with it the threads that wait for it."""
        with suppress(OSError):  # it has ended already
            self._socket.shutdown(socket.SHUT_RDWR)

    async def aclose(self) -> None:
        """Close the connection; queued datagrams are dropped."""
        self.end()
        self._socket.close()
        await self.stream.aclose()


class TimedTcpDatagrams:
    """Datagrams at their times (`testbed.transport.interface.TimedDatagrams`), by two threads.

    The threads start when they are first needed.
    """

    def __init__(self, connection: BlockingTcpDatagrams) -> None:
        self._connection = connection
        self._schedules: SimpleQueue[Sequence[tuple[float, bytes]]] | None = None
        self._arrived: deque[tuple[float, bytes]] | None = None
        self._failure: Exception | None = None
        """Why the listening thread ended, unless the connection did."""

    def send_at(self, schedule: Sequence[tuple[float, bytes]], /) -> None:
        """Hand over datagrams to leave at their times (s, CLOCK_MONOTONIC).

        Times must not decrease, also from call to call.
        """
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
                self._connection.write(datagram)

    def receive_stamped(self) -> list[tuple[float, bytes]]:
        """Return what was read since the last call, with times (s, CLOCK_MONOTONIC); never wait.

        The first call starts the reading, so it returns nothing.

        Raises:
            ValueError: The other side sent something that is not a datagram.
        """
        if self._arrived is None:
            self._arrived = deque()
            Thread(target=self._listen, args=(self._arrived,), daemon=True).start()
        if self._failure is not None:
            raise self._failure
        return [self._arrived.popleft() for _ in range(len(self._arrived))]

    def _listen(self, arrived: deque[tuple[float, bytes]]) -> None:
        try:
            while datagrams := self._connection.read():
                now = time.monotonic()
                arrived.extend((now, datagram) for datagram in datagrams)
        except Exception as error:
            self._failure = error

    def end(self) -> None:
        """End the sending thread; the listening one ends with the connection."""
        if self._schedules is not None:
            self._schedules.put(())  # an empty schedule: nothing more comes


class TcpDatagrams(trio.abc.Channel[bytes]):
    """Datagrams over a TCP connection, for tasks. Reliable and in order.

    A sender never waits: see the module. Nothing else may use `stream` afterwards.
    """

    def __init__(
        self,
        stream: trio.SocketStream,
        *,
        frame: Frame = frame_datagram,
        take: Take = take_datagram,
    ) -> None:
        self._connection = BlockingTcpDatagrams(stream, frame=frame, take=take)
        self._timed = TimedTcpDatagrams(self._connection)

    @property
    def dropped(self) -> int:
        """How many datagrams found the queue full or the connection broken."""
        return self._connection.dropped

    def timed(self) -> TimedTcpDatagrams:
        """Return a view that keeps times; it reads, so `receive` must not be called any more."""
        return self._timed

    async def send(self, value: bytes) -> None:
        """Send, queue or drop one datagram.

        Raises:
            ValueError: The datagram is longer than the framing can express.
            trio.ClosedResourceError: The channel is closed.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._connection.is_closed:
            raise trio.ClosedResourceError
        self._connection.write(value)

    async def receive(self) -> bytes:
        """Wait for one datagram.

        Raises:
            trio.EndOfChannel: The other side has closed the connection.
            trio.BrokenResourceError: The connection is broken.
            trio.ClosedResourceError: The channel is closed.
        """
        while (datagram := self._connection.take()) is None:
            if self._connection.is_closed:
                raise trio.ClosedResourceError
            # Wait first: with datagrams every 20 ms, a read that comes too early is a system call
            # for nothing.
            await trio.lowlevel.wait_readable(self._connection.stream.socket)
            try:
                goes_on = self._connection.receive_bytes(socket.MSG_DONTWAIT)
            except BlockingIOError:
                continue
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error
            if not goes_on:
                raise trio.EndOfChannel
        return datagram

    async def aclose(self) -> None:
        """Close the connection; queued datagrams are dropped."""
        self._timed.end()
        await self._connection.aclose()
