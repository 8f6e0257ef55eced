"""Sends and receives many timed datagrams with one system call: sendmmsg(2), recvmmsg(2).

In a guest, a system call takes virtual time, during which everything on its one processor waits.
Python's socket module needs one call per datagram, so this module calls libc.

The kernel reads and writes an array of `struct mmsghdr`, each with one part (`struct iovec`) for
the datagram and one control message (cmsg(3)) for its time:

    headers[k]  -> parts[k]    -> slots[k]     the datagram, SLOT_BYTES of room
                -> controls[k]                 sending: SCM_TXTIME, the time at which it leaves
                                               receiving: SCM_TIMESTAMPNS, when it arrived

All are arrays of 8-byte words that are made and linked once. A call then only sets sizes and times.
"""

from __future__ import annotations

import ctypes
import os
import socket
import time
from array import array
from collections.abc import Sequence
from functools import cache

SO_TIMESTAMPNS = 35
SO_TXTIME = 61
"""Linux's numbers (asm-generic/socket.h), which Python's socket module does not name."""

BATCH = 64
"""How many datagrams are handed over at once."""
SLOT_BYTES = 2048
"""The longest datagram."""
_CONTROL_WORDS = 4
"""The words of a control message with 16 bytes of data: length; level and type; the data."""
_CONTROL_BYTES = _CONTROL_WORDS * 8
_HEADER_WORDS = 8
"""The words of a `struct mmsghdr`: address, its length; parts, their number; control, its length;
flags; the datagram's length."""
_PARTS, _PART_COUNT, _CONTROL, _CONTROL_SIZE, _FLAGS, _SIZE = 2, 3, 4, 5, 6, 7
"""Which word is which."""
_TXTIME_BYTES = socket.CMSG_LEN(8)
_TXTIME = socket.SOL_SOCKET | SO_TXTIME << 32
"""Level and type of a control message, as one word (little-endian)."""
_NS = 1_000_000_000
_ROOM = array("Q", [_CONTROL_BYTES] * BATCH)
"""The control messages' lengths: before a call the room for each, afterwards what was written."""
_TRUNCATED = int(socket.MSG_TRUNC)
"""A plain number, since evaluating a flag of Python's `enum` takes a microsecond."""
_libc = ctypes.CDLL(None, use_errno=True)


class _Batch:
    """The arrays that the kernel reads and writes, linked by addresses."""

    def __init__(self) -> None:
        self.slots = bytearray(BATCH * SLOT_BYTES)
        self.parts = array("Q", bytes(BATCH * 16))
        self.controls = array("Q", bytes(BATCH * _CONTROL_BYTES))
        self.headers = array("Q", bytes(BATCH * _HEADER_WORDS * 8))
        slots_at = ctypes.addressof(ctypes.c_char.from_buffer(self.slots))
        parts_at, controls_at, headers_at = (
            words.buffer_info()[0] for words in (self.parts, self.controls, self.headers)
        )
        self._headers_at = ctypes.c_void_p(headers_at)
        for k in range(BATCH):
            header = k * _HEADER_WORDS
            self.parts[2 * k] = slots_at + k * SLOT_BYTES
            self.headers[header + _PARTS] = parts_at + k * 16
            self.headers[header + _PART_COUNT] = 1
            self.headers[header + _CONTROL] = controls_at + k * _CONTROL_BYTES

    def send(self, sock: socket.socket, count: int) -> int:
        """Send the first `count` datagrams; return how many the kernel accepted.

        Raises:
            OSError: It accepted none.
        """
        return self._checked(
            _libc.sendmmsg(sock.fileno(), self._headers_at, count, socket.MSG_DONTWAIT)
        )

    def receive(self, sock: socket.socket) -> int:
        """Receive without waiting; return how many datagrams there were.

        Raises:
            OSError: There was none, or an error was pending.
        """
        return self._checked(
            _libc.recvmmsg(sock.fileno(), self._headers_at, BATCH, socket.MSG_DONTWAIT, None)
        )

    def _checked(self, done: int) -> int:
        if done < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return done


class TimedSender:
    """Sends datagrams at given times, from connected sockets with SO_TXTIME."""

    def __init__(self) -> None:
        self._batch = _Batch()
        for k in range(BATCH):
            self._batch.headers[k * _HEADER_WORDS + _CONTROL_SIZE] = _TXTIME_BYTES
            self._batch.controls[k * _CONTROL_WORDS] = _TXTIME_BYTES
            self._batch.controls[k * _CONTROL_WORDS + 1] = _TXTIME

    def send(self, sock: socket.socket, schedule: Sequence[tuple[float, bytes]]) -> None:
        """Send each datagram at its time (s, CLOCK_MONOTONIC).

        If the socket has a pending ICMP error of an earlier datagram, one datagram is lost.

        Raises:
            ValueError: A datagram is longer than `SLOT_BYTES`.
            OSError: The kernel accepts no more.
        """
        batch = self._batch
        at = 0
        while at < len(schedule):
            part = schedule[at : at + BATCH]
            for k, (when, datagram) in enumerate(part):
                size = len(datagram)
                if size > SLOT_BYTES:
                    raise ValueError(f"a datagram has {size} bytes, more than {SLOT_BYTES}")
                batch.slots[k * SLOT_BYTES : k * SLOT_BYTES + size] = datagram
                batch.parts[2 * k + 1] = size
                batch.controls[k * _CONTROL_WORDS + 2] = round(when * _NS)
            try:
                at += batch.send(sock, len(part))
            except ConnectionRefusedError:
                at += 1  # the error was of an earlier datagram, and is now cleared


class StampedReceiver:
    """Receives datagrams with their times of arrival, from sockets with SO_TIMESTAMPNS."""

    def __init__(self) -> None:
        self._batch = _Batch()
        # The kernel stamps with the time of day; in a guest both clocks advance together.
        self._offset_ns = time.time_ns() - time.monotonic_ns()
        for k in range(BATCH):
            self._batch.parts[2 * k + 1] = SLOT_BYTES

    def receive(self, sock: socket.socket) -> list[tuple[float, bytes]]:
        """Return all that has arrived, with times of arrival (s, CLOCK_MONOTONIC), without waiting.

        Raises:
            OSError: A datagram is longer than `SLOT_BYTES`, or has no time.
        """
        batch = self._batch
        headers, controls, slots = batch.headers, batch.controls, memoryview(batch.slots)
        arrived: list[tuple[float, bytes]] = []
        while True:
            headers[_CONTROL_SIZE::_HEADER_WORDS] = _ROOM
            try:
                count = batch.receive(sock)
            except BlockingIOError:
                return arrived
            except ConnectionRefusedError:
                continue
            used = count * _HEADER_WORDS
            if any(flags & _TRUNCATED for flags in headers[_FLAGS:used:_HEADER_WORDS]):
                raise OSError(f"a datagram has more than {SLOT_BYTES} bytes")
            if headers[_CONTROL_SIZE:used:_HEADER_WORDS] != _ROOM[:count]:
                raise OSError("a datagram has no time: its socket lacks SO_TIMESTAMPNS")
            used_controls = count * _CONTROL_WORDS
            for start, size, seconds, nanoseconds in zip(
                range(0, count * SLOT_BYTES, SLOT_BYTES),
                headers[_SIZE:used:_HEADER_WORDS],
                controls[2:used_controls:_CONTROL_WORDS],
                controls[3:used_controls:_CONTROL_WORDS],
                strict=True,
            ):
                at_ns = seconds * _NS + nanoseconds - self._offset_ns
                # The length has 4 bytes; what is behind it in its word is padding.
                datagram = slots[start : start + (size & 0xFFFFFFFF)].tobytes()
                arrived.append((at_ns / _NS, datagram))
            if count < BATCH:  # there was no more when the kernel looked
                return arrived


@cache
def timed_sender() -> TimedSender:
    """Return the sender that all sockets share: it keeps nothing between calls."""
    return TimedSender()


@cache
def stamped_receiver() -> StampedReceiver:
    """Return the receiver that all sockets share."""
    return StampedReceiver()
