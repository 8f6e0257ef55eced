"""Captures what crosses a middlebox, on both of its sides, with tcpdump."""

from __future__ import annotations

from testbed.lab.nodes.host import LabHost
from testbed.transport.interface import Program

TCPDUMP = Program("tcpdump", apt="tcpdump")
SIDES = {"inside": "eth0", "outside": "eth1"}
"""A middlebox's interfaces, by the names of the capture files, whose times are virtual, in ns."""


async def capture(middlebox: LabHost) -> None:
    """Capture from now on until the host closes, to `SIDE.pcap` in its state folder."""
    for side, device in SIDES.items():
        path = middlebox.state_dir / f"{side}.pcap"
        options = ["--nano", "-n", "-s", "0", "-Z", "root"]
        options += ["-i", f"{middlebox.name}-{device}", "-w", str(path)]
        await middlebox.start_process([TCPDUMP.path(), *options], ready="listening on")
