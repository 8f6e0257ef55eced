"""Runs a call's datagrams in the simulator ns-3, if it is installed, to compare the speed."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from statistics import fmean

from testbed.experiment.cell import Cell
from testbed.listen.script import speech_encodings

SOURCE = Path(__file__).parent / "call.cc"
_LIBRARIES = ("internet", "point-to-point", "network", "core")
_COMPILE_LIMIT_S = 300.0
_RTP_BYTES = 22
"""The RTP header and the SRTP authentication tag (RFC 3550, 5.1; RFC 3711, 8.2)."""


class Ns3Error(Exception):
    """ns-3 cannot be run here; the message says why and what to do."""


def version() -> str:
    """Return the version of ns-3's libraries.

    Raises:
        Ns3Error: The libraries, or the tools to compile with them, are missing.
    """
    missing = [name for name in ("g++", "pkg-config") if shutil.which(name) is None]
    if not missing:
        asked = ["pkg-config", "--modversion", "ns3-core"]
        found = subprocess.run(asked, capture_output=True, text=True, check=False)
        if found.returncode == 0:
            return found.stdout.strip()
        missing = ["ns-3"]
    raise Ns3Error(f"missing: {', '.join(missing)}: ./lab install libns3-dev g++ pkg-config")


def run_call(cell: Cell, folder: Path, cpu: int) -> float:
    """Simulate as many datagrams as a cell's call has, over its links without jitter.

    The program is compiled in `folder` and then pinned to a processor. Return the seconds that its
    run took, without the compilation.

    Raises:
        Ns3Error: The program does not compile, or datagrams were lost.
    """
    program = folder / "call"
    libraries = [f"-lns3-{name}" for name in _LIBRARIES]
    command = ["g++", "-O2", "-o", str(program), str(SOURCE), *libraries]
    _run(command, _COMPILE_LIMIT_S)
    codec, links = cell.messenger.codec, cell.links
    said = speech_encodings(cell.messenger, cell.duration_s, cell.said, cell.speech)
    frames = [frame for encodings in said.values() for frame in encodings[0]]
    datagram_bytes = round(fmean(map(len, frames))) + _RTP_BYTES
    delays_ms = [
        link.delay_ms for link in (links.access, links.backbone, links.hosting, links.callee_access)
    ]
    arguments = [cell.duration_s, codec.frame_ms, datagram_bytes, *delays_ms]
    rate_mbps = links.access.rate_mbps or 10_000
    call = ["taskset", "-c", str(cpu), str(program), *map(str, arguments), str(rate_mbps)]
    began_at = time.monotonic()
    arrived = int(_run(call, cell.duration_s))
    took_s = time.monotonic() - began_at
    if arrived != len(frames):
        raise Ns3Error(f"{arrived} of {len(frames)} datagrams arrived in ns-3")
    return took_s


def _run(command: list[str], limit_s: float) -> str:
    env = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=limit_s, env=env
        )
    except subprocess.TimeoutExpired:
        raise Ns3Error(f"{command[0]} did not end within {limit_s:g} s") from None
    if done.returncode != 0:
        raise Ns3Error(f"{command[0]} ended with status {done.returncode}: {done.stderr[-1000:]}")
    return done.stdout
