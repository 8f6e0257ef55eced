"""List the call engines by name: the programs each needs, and how large a guest."""

from __future__ import annotations

import sys
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


_FILES = {
    "311": "c1f348e2e21adb1ce7414a646704c55c95245cec13e2fc1ee5fe38e9a6d29b3b",
    "312": "3e9ec6ab28481183b9ec6cac5446b625009c4a1465f577190fc11f1c33c8f73b",
    "313": "b9a4db1d6d86ec262cfd0794cf96f872e16dd4e07c75f741b0bff648c90b7071",
    "314": "8b53a76020e67374ca7dd85cb80be986d8c05709fb92cdc981ea9859c8e46a68",
}
"""By Python version: the SHA-256 of the ntgcalls library in the wheel for x86-64."""
_PYTHON = f"{sys.version_info.major}{sys.version_info.minor}"

NTGCALLS = Program(
    "ntgcalls",
    pypi="ntgcalls==3.0.5",
    inside=f"ntgcalls.cpython-{_PYTHON}-x86_64-linux-gnu.so",
    sha256=_FILES.get(_PYTHON, ""),
)
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
