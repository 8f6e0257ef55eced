"""Large captures are streamed: what is kept of them is bounded."""

from __future__ import annotations

import resource
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.censor.actions.drop import Drop
from testbed.tools.fitting import capture_reading
from testbed.tools.fitting.capture_reading import read_capture
from testbed.tools.fitting.examination import examine
from tests.fitting.simulated import NEAR, RELAY, make_call, profile_of
from tests.recognition.files import RAW

GIGABYTE = 10**9
MOST_MB = 700
VIDEO_BYTES, PACE_US = 1200, 2_500
"""A packet's payload, and the time between packets: video of some 4 Mbit/s in each direction."""


def test_packets_beyond_the_limit_are_counted_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    near, _ = make_call(profile_of(Drop(0.2)), duration_s=8).write(tmp_path)
    whole = sum(len(flow.columns.at_s) for flow in read_capture(near).flows)
    monkeypatch.setattr(capture_reading, "MAX_PACKETS", 300)
    record = read_capture(near)
    assert sum(len(flow.columns.at_s) for flow in record.flows) == 300
    assert f"{whole - 300} packets were not kept: there are too many flows or packets." in (
        examine(record).notes
    )


def write_gigabyte(path: Path) -> None:
    """Write a call of a gigabyte, packet by packet; every 31st incoming packet is missing."""
    size = 28 + VIDEO_BYTES
    ways = []
    for ends, ttl, source in (((NEAR, RELAY), 64, 1), ((RELAY, NEAR), 52, 2)):
        addresses = ends[0].address + ends[1].address
        header = struct.pack("!BBHHHBBH", 0x45, 0, size, 0, 0, ttl, 17, 0) + addresses
        header += struct.pack("!HHHH", ends[0].port, ends[1].port, size - 20, 0)
        ways.append((header, source))
    rest = bytes(VIDEO_BYTES - 20)
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, RAW))
        number = 0
        while file.tell() < GIGABYTE:
            seconds, rest_us = divmod(number * PACE_US, 10**6)
            for header, source in ways:
                if source == 2 and number % 31 == 0:
                    continue
                ticks = number * PACE_US * 9 // 100
                rtp = struct.pack("!BBHII", 0x80, 96, number & 0xFFFF, ticks & 0xFFFFFFFF, source)
                file.write(struct.pack("<IIII", 1_700_000_000 + seconds, rest_us, size, size))
                file.write(header + rtp + number.to_bytes(8, "big") + rest)
            number += 1


@pytest.mark.slow
def test_a_gigabyte_is_fitted_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.pcap"
    write_gigabyte(path)
    fitted = subprocess.run(
        [sys.executable, "-m", "testbed", "fit", str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    path.unlink()
    most_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"most memory: {most_mb:.0f} MB")
    assert "lost" in fitted.stdout
    assert most_mb < MOST_MB
