"""Many datagrams by one system call: none is lost, cut or swapped, and each has its time."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator

import pytest

from testbed.lab.net.mmsg import (
    BATCH,
    SLOT_BYTES,
    SO_TIMESTAMPNS,
    SO_TXTIME,
    StampedReceiver,
    TimedSender,
)

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A sender that is connected to a receiver."""
    with socket.socket(type=socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.setblocking(False)
        receiver.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        with socket.socket(type=socket.SOCK_DGRAM) as sender:
            timed = struct.pack("iI", time.CLOCK_MONOTONIC, 0)
            sender.setsockopt(socket.SOL_SOCKET, SO_TXTIME, timed)
            sender.connect(receiver.getsockname())
            yield sender, receiver


@pytest.mark.parametrize("count", [0, 1, BATCH - 1, BATCH, BATCH + 1, 2 * BATCH + 3])
def test_what_is_sent_together_arrives_whole_and_in_order(pair: Pair, count: int) -> None:
    sender, receiver = pair
    datagrams = [struct.pack("H", k) * (1 + k * 7 % 600) for k in range(count)]
    before = time.monotonic()
    TimedSender().send(sender, [(before, datagram) for datagram in datagrams])
    arrived = StampedReceiver().receive(receiver)
    assert [datagram for _, datagram in arrived] == datagrams
    times = [at for at, _ in arrived]
    assert times == sorted(times)
    assert all(before - 1e-3 < at < time.monotonic() + 1e-3 for at in times)


def test_an_empty_datagram_is_one(pair: Pair) -> None:
    sender, receiver = pair
    TimedSender().send(sender, [(0.0, b""), (0.0, b"after it")])
    assert [datagram for _, datagram in StampedReceiver().receive(receiver)] == [b"", b"after it"]


def test_the_longest_datagram_passes_and_a_longer_one_is_refused(pair: Pair) -> None:
    sender, receiver = pair
    TimedSender().send(sender, [(0.0, bytes(SLOT_BYTES))])
    [(_, datagram)] = StampedReceiver().receive(receiver)
    assert len(datagram) == SLOT_BYTES
    with pytest.raises(ValueError, match="more than 2048"):
        TimedSender().send(sender, [(0.0, bytes(SLOT_BYTES + 1))])
    sender.send(bytes(SLOT_BYTES + 1))
    with pytest.raises(OSError, match="more than 2048 bytes"):
        StampedReceiver().receive(receiver)


def test_a_datagram_without_a_time_is_an_error_and_not_an_old_time(pair: Pair) -> None:
    sender, receiver = pair
    stamped = StampedReceiver()
    sender.send(b"with a time")
    assert len(stamped.receive(receiver)) == 1
    receiver.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 0)
    sender.send(b"without one")
    with pytest.raises(OSError, match="has no time"):
        stamped.receive(receiver)


def test_who_is_gone_costs_datagrams_and_raises_nothing(pair: Pair) -> None:
    sender, receiver = pair
    receiver.close()
    for _ in range(3):
        TimedSender().send(sender, [(0.0, b"is anybody there?")] * 5)
