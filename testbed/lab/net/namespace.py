"""Network namespaces, each held by a file descriptor (network_namespaces(7)).

A thread is in one namespace at a time, and a socket or a child process belongs to the one in which
its thread was when it was made. So there is no function "open this socket there": one enters the
namespace, opens the socket, and leaves.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

CLONE_NEWNET = 0x40000000
_OWN_NAMESPACE = "/proc/thread-self/ns/net"
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


class Namespace:
    """A network namespace that lives as long as its descriptor, its processes and its sockets.

    It has no name in the file system, so nothing is left behind, however the lab ends.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        """Create an empty namespace; its file descriptor gets the number `descriptor`, if given.

        Raises:
            OSError: It is not permitted.
        """
        outside = os.open(_OWN_NAMESPACE, os.O_RDONLY)
        try:
            _check(_libc.unshare(CLONE_NEWNET), "unshare(CLONE_NEWNET)")
            self.fd = os.open(_OWN_NAMESPACE, os.O_RDONLY)
            _check(_libc.setns(outside, CLONE_NEWNET), "setns")
        finally:
            os.close(outside)
        if descriptor is not None:
            made = self.fd
            self.fd = os.dup2(made, descriptor, inheritable=False)
            os.close(made)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Enter the namespace for the time of a `with` block.

        There must be no await in the block: the thread is inside, so all other tasks would be.
        """
        outside = os.open(_OWN_NAMESPACE, os.O_RDONLY)
        try:
            _check(_libc.setns(self.fd, CLONE_NEWNET), "setns")
            try:
                yield
            finally:
                _check(_libc.setns(outside, CLONE_NEWNET), "setns")
        finally:
            os.close(outside)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.fd)
