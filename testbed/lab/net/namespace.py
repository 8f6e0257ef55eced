"""Network namespaces held by descriptors; what is inside them lives elsewhere."""

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

    It has no name in the file system, so nothing is left behind however the lab ends.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        """Make an empty namespace; `descriptor` is the number that its descriptor is to have.

        OSError: not permitted.
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
        """Be inside: sockets made and processes started there belong to the namespace.

        Must not be held across an await: the thread is inside, and so would be every other task.
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
        """Let go of it."""
        os.close(self.fd)
