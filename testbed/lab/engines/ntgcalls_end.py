"""Run one end of a Telegram call with the real engine, as a program of its own.

The program runs in its node's network namespace. It exchanges messages with the lab on its standard
input and output, each a letter, a length (4 bytes, big-endian) and content:

    in   D  dial: `HOST PORT PROTOCOL...`, the reflector's address and how to reach it; the protocol
            `peer` lets both ends reach each other, too, by the STUN server at the same address
         S  bytes of the other end's signalling
         H  hear: write what is heard to the file from now on
    out  R  ready to dial
         S  bytes of signalling for the other end
         C  `STATE TIME`: the connection entered a state at a time (s, CLOCK_MONOTONIC)

It exits when its input ends. Imports and their page faults make a start slow, so it imports almost
nothing: the library imports `asyncio` and `logging`, of which it finds small replacements here.
"""

from __future__ import annotations

import os
import sys
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

USER = 1
"""The library's identifier of the other end of the call; there is only one call."""
REFLECTOR_ID, STUN_ID = 1, 2
STUN_PORT = 3478
PEER = "peer"
RATE_HZ = 16000
"""The sampling rate of what is said and heard, in 16-bit mono."""
WARNING = 30
FREE_COMM = "testbed-lab"
"""The process name whose work takes no virtual time; the same as in `testbed.guest.boot`."""


class Loop:
    """The part of asyncio that the library uses: an event loop, which runs calls at once here."""

    def run_in_executor(self, _executor: object, function: Callable[[], object]) -> object:
        """Call a function now, and return its result."""
        return function()


class Logger:
    """The part of logging that the library uses: warnings go to standard error."""

    level = WARNING
    """Not 0, which the library would treat as unset."""

    def log(self, level: int, message: str) -> None:
        """Log a message if it is a warning or an error."""
        if level >= WARNING:
            os.write(2, f"{message}\n".encode())


def stand_in_for_imports() -> None:
    """Replace two slow imports of the library, asyncio and logging, by small modules."""
    module = type(sys)
    asyncio, logging = module("asyncio"), module("logging")
    vars(asyncio)["get_event_loop"] = Loop
    vars(logging).update(
        getLogger=lambda _name: Logger(),
        NOTSET=0,
        DEBUG=10,
        INFO=20,
        WARNING=WARNING,
        ERROR=40,
        CRITICAL=50,
    )
    sys.modules.update(asyncio=asyncio, logging=logging)


def be_called(name: str) -> None:
    """Set this process's name, which threads started afterwards inherit."""
    with open("/proc/self/comm", "w") as file:  # noqa: PTH123 - pathlib is not loaded
        file.write(name)


def tell(kind: bytes, content: bytes = b"") -> None:
    """Send a message to the lab."""
    os.write(1, kind + len(content).to_bytes(4, "big") + content)


class End:
    """One end of a call by the library; `ntgcalls` is its module."""

    def __init__(self, ntgcalls: ModuleType) -> None:
        self.library = ntgcalls
        self.calls = ntgcalls.NTgCalls()

    def prepare(self, role: str, key: bytes, said: str) -> None:
        """Create the call; `key` replaces the one on which the ends would agree."""
        self.calls.on_signaling_data(lambda _user, data: tell(b"S", data))
        self.calls.on_connection_change(
            lambda _user, info: tell(b"C", f"{info.state.name} {monotonic():.9f}".encode())
        )
        self.calls.create_p2p_call(USER)
        self.calls.skip_exchange(USER, key, role == "caller")
        self.calls.set_stream_sources(USER, self.library.StreamMode.CAPTURE, self.sound(said))

    def hear(self, path: str) -> None:
        """Write what is heard to a file from now on; an empty path completes the file."""
        self.calls.set_stream_sources(USER, self.library.StreamMode.PLAYBACK, self.sound(path))

    def sound(self, path: str) -> object:
        """Return the library's description of sound in a file; of no sound, if `path` is empty."""
        n = self.library
        in_file = n.AudioDescription(n.MediaSource.FILE, RATE_HZ, 1, path, True) if path else None
        return n.MediaDescription(in_file, None, None, None)

    def dial(self, tag: bytes, host: str, port: int, protocols: list[str]) -> None:
        """Connect through a reflector."""
        place = (REFLECTOR_ID, host, "", port, None, None)
        servers = [
            self.library.RTCServer(*place, True, False, protocol == "tcp", tag)
            for protocol in protocols
            if protocol != PEER
        ]
        if PEER in protocols:
            place = (STUN_ID, host, "", STUN_PORT, None, None)
            servers.append(self.library.RTCServer(*place, False, True, False, None))
        versions = self.calls.get_protocol().library_versions
        self.calls.connect_p2p(USER, servers, versions, PEER in protocols, None)


def main(library: str, role: str, key: str, tag: str, said: str, heard: str) -> None:
    """Serve one call.

    Everything before the engine is the lab's own code, so it runs under a name for which no virtual
    time passes.
    """
    be_called(FREE_COMM)
    stand_in_for_imports()
    sys.path.insert(0, os.path.dirname(library))  # noqa: PTH120
    import ntgcalls  # noqa: PLC0415 - only after its imports have been replaced

    be_called(role)
    end = End(ntgcalls)
    end.prepare(role, bytes.fromhex(key), said)
    tell(b"R")
    lab = sys.stdin.buffer
    while len(head := lab.read(5)) == 5:
        kind, content = head[:1], lab.read(int.from_bytes(head[1:], "big"))
        if kind == b"D":
            host, port, *protocols = content.decode().split()
            end.dial(bytes.fromhex(tag), host, int(port), protocols)
        elif kind == b"S":
            end.calls.send_signaling_data(USER, content)
        elif kind == b"H":
            end.hear(heard)
    end.hear("")
    os._exit(0)  # the library's own shutdown crashes after a call over TCP


if __name__ == "__main__":
    main(*sys.argv[1:])
