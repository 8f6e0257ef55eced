"""List the call engines by name: the programs each needs, and how large a guest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from testbed.transport.interface import Program

GUEST_MB = 256
"""The default memory of a guest."""


@dataclass(frozen=True)
class Engine:
    """A program, or the model, that makes calls."""

    programs: tuple[Program, ...] = ()
    """The programs it needs, including its relay."""
    guest_mb: int = GUEST_MB
    """The memory that a guest needs to run two of them."""
    relay_protocols: tuple[str, ...] = ("udp", "tcp")
    """The protocols to the relay on which its frames can be read; inside TLS no real engine's
    can."""
    nack: bool = False
    """Whether its ends can be made to request lost packets (RFC 4585, 6.2.1)."""


NTGCALLS = Program("ntgcalls", pypi="ntgcalls", inside="ntgcalls.cpython-313-x86_64-linux-gnu.so")
"""An engine for Telegram's calls: the tgcalls protocol on libwebrtc (LGPL-3,
github.com/pytgcalls/ntgcalls), loaded unmodified by `testbed.lab.engines.ntgcalls_end`."""
CHROMIUM = Program("/usr/lib/chromium/chromium-headless-shell", apt="chromium-headless-shell")
"""Chromium without a user interface; by its full path, because /usr/bin has only a script."""
BARESIP = Program("baresip", apt="baresip-core")
TURNSERVER = Program("turnserver", apt="coturn")

ENGINES: Mapping[str, Engine] = {
    "model": Engine(relay_protocols=("udp", "tcp", "tls"), nack=True),
    "ntgcalls": Engine((NTGCALLS,)),
    "chromium": Engine((CHROMIUM, TURNSERVER), guest_mb=2048, nack=True),
    "baresip": Engine((BARESIP,), relay_protocols=("udp",)),
}
"""By the name that a messenger's file has as its `engine`."""
