"""Captures what crosses the middlebox, on both of its sides, by tcpdump; reads nothing back."""

from __future__ import annotations

from testbed.lab.host import LabHost
from testbed.transport import Program

TCPDUMP = Program("tcpdump", apt="tcpdump")
SIDES = {"inside": "middlebox-eth0", "outside": "middlebox-eth1"}
"""Interfaces of the middlebox by the names of the files; times in these are virtual, in ns."""


async def capture(middlebox: LabHost) -> None:
    """Capture from now on until the host closes, into `SIDE.pcap` in its folder."""
    for side, device in SIDES.items():
        path = middlebox.state_dir / f"{side}.pcap"
        options = ["--nano", "-n", "-s", "0", "-Z", "root", "-i", device, "-w", str(path)]
        await middlebox.start_process([TCPDUMP.path(), *options], ready="listening on")
