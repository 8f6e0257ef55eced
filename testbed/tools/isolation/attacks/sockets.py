"""Attacks on what the machine offers to its own programs: sockets, packets, shared memory."""

from __future__ import annotations

import ctypes
import socket

from testbed.tools.isolation.attacks import Target, attack, libc


@attack("reached", "process")
def tcp_connect(at: Target) -> None:
    """Connect to a TCP service of the machine."""
    with socket.create_connection(("127.0.0.1", at.tcp_port), 2) as connected:
        connected.sendall(at.token.encode())


@attack("reached", "process")
def udp_send(at: Target) -> None:
    """Send to a UDP service of the machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(at.token.encode(), ("127.0.0.1", at.udp_port))


@attack("reached", "process")
def tcp_listen(at: Target) -> None:
    """Offer a TCP service on the machine."""
    with socket.create_server(("127.0.0.1", at.free_port)) as server:
        server.settimeout(2)
        server.accept()


@attack("reached", "process")
def abstract_connect(at: Target) -> None:
    """Connect to an abstract socket."""
    with socket.socket(socket.AF_UNIX) as connected:
        connected.connect("\0" + at.abstract)
        connected.sendall(at.token.encode())


@attack("reached", "process")
def path_connect(at: Target) -> None:
    """Connect to a socket in a folder of the user."""
    with socket.socket(socket.AF_UNIX) as connected:
        connected.connect(f"{at.private}/socket")
        connected.sendall(at.token.encode())


@attack("reached", "process")
def mconsole(at: Target) -> None:
    """Send a command to the console of another guest's kernel."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(at.token.encode(), f"{at.private}/mconsole")


@attack("learnt", "process")
def sniff(at: Target) -> None:
    """Hear what passes over the machine's loopback interface."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as raw:
        raw.bind(("lo", 0))
        raw.settimeout(0.2)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(5):
                sender.sendto(at.token.encode(), ("127.0.0.1", at.free_port))
                heard = raw.recv(2048)
                if at.token.encode() in heard:
                    at.learnt(heard)


@attack("learnt", "process")
def read_segment(at: Target) -> None:
    """Read a shared memory segment of System V."""
    libc.shmat.restype = ctypes.c_void_p
    place = libc.shmat(at.segment, None, 0o10000)
    if place in (None, ctypes.c_void_p(-1).value):
        raise OSError
    at.learnt(ctypes.string_at(place, 64))
