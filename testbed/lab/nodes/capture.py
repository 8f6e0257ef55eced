"""Captures what crosses a middlebox, on both of its sides, or what an end sees, with tcpdump."""

from __future__ import annotations

from collections.abc import Mapping

from testbed.lab.nodes.host import LabHost
from testbed.transport.interface import Program

TCPDUMP = Program("tcpdump", apt="tcpdump")
SIDES = {"inside": "eth0", "outside": "eth1"}
"""A middlebox's interfaces, by the names of the capture files, whose times are virtual, in ns."""
END = {"end": "eth0"}
"""The same for an end of a call, which has one interface."""


async def capture(host: LabHost, devices: Mapping[str, str]) -> None:
    """Capture from now on until the host closes, to `NAME.pcap` for each device."""
    for name, device in devices.items():
        path = host.state_dir / f"{name}.pcap"
        options = ["--nano", "-n", "-s", "0", "-Z", "root"]
        options += ["-i", f"{host.name}-{device}", "-w", str(path)]
        await host.start_process([TCPDUMP.path(), *options], ready="listening on")
