"""Find the call engines by name, and say what each needs from its host.

An engine is a file in `testbed/lab/engines/` with an `ENGINE`. Such a file needs the lab, which
this folder must not import; so it is looked up by name, and only when somebody asks for it. As with
transports, what is known here is the part that a host needs: programs, memory, protocols.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from testbed.plugins import Plugins
from testbed.transport.interface import Program

GUEST_MB = 256
"""The default memory of a guest."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A program, or the model, that makes calls."""

    is_model: bool = False
    """Whether it sends frames that are prepared for it, by a dialect; a real engine speaks and
    encodes itself."""
    programs: tuple[Program, ...] = ()
    """The programs it needs, including its relay."""
    guest_mb: int = GUEST_MB
    """The memory that a guest needs to run two of them."""
    relay_protocols: tuple[str, ...] = ("udp", "tcp")
    """The protocols to the relay on which its frames can be read; inside TLS no real engine's
    can."""
    is_slow: bool = False
    """Whether a call of 10 s takes most of a minute, so that only slow tests make one."""
    nack: bool = False
    """Whether its ends can be made to request lost packets (RFC 4585, 6.2.1)."""
    peer_to_peer: bool = False
    """Whether the ends of a real engine can be made to reach each other without the relay."""
    red: bool = False
    """Whether its ends can be made to send each frame again with the next one (RFC 2198)."""
    is_heard_in_time: bool = False
    """Whether its recordings run in real time, so that they show when something was heard, and its
    frames are long enough to be recognised."""


ENGINES: Mapping[str, Engine] = Plugins("testbed.lab.engines", "ENGINE")
"""By the name that a messenger's file has as its `engine`."""
