"""Captures what crosses a middlebox, on both of its sides, by tcpdump; reads nothing back."""

from __future__ import annotations

from testbed.lab.nodes.host import LabHost
from testbed.transport.interface import Program

TCPDUMP = Program("tcpdump", apt="tcpdump")
SIDES = {"inside": "eth0", "outside": "eth1"}
"""Interfaces of a middlebox by the names of the files; times in these are virtual, in ns."""


async def capture(middlebox: LabHost) -> None:
    """Capture from now on until the host closes, into `SIDE.pcap` in its folder."""
    for side, device in SIDES.items():
        path = middlebox.state_dir / f"{side}.pcap"
        of_side = ["-i", f"{middlebox.name}-{device}", "-w", str(path)]
        options = ["--nano", "-n", "-s", "0", "-Z", "root", *of_side]
        await middlebox.start_process([TCPDUMP.path(), *options], ready="listening on")
