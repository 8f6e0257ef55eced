#!/usr/bin/python3
"""A small program such as people run: fakes before the first packet of each flow, by NFQUEUE.

Usage: first_fakes.py --qnum=N --file=PATH [--repeats=N]

It sends the file's content by a raw socket with nfqws's mark, then lets the packet itself pass.
"""

import argparse
import socket
import struct
from pathlib import Path

import netfilterqueue

MARK = 0x40000000
SO_MARK = 36
UDP = 17
POSTROUTING = 4

options = argparse.ArgumentParser()
options.add_argument("--qnum", type=int)
options.add_argument("--file")
options.add_argument("--repeats", type=int, default=1)
chosen = options.parse_args()
fake = Path(chosen.file).read_bytes()
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
raw.setsockopt(socket.SOL_SOCKET, SO_MARK, MARK)
seen: set[bytes] = set()


def decide(queued: netfilterqueue.Packet) -> None:
    """Send fakes if this is the first packet of a flow that the node sends."""
    packet = queued.get_payload()
    flow = packet[12:24]  # both addresses and both ports
    if packet[0] == 0x45 and packet[9] == UDP and queued.hook == POSTROUTING and flow not in seen:
        seen.add(flow)
        ports = packet[20:24]
        datagram = ports + struct.pack("!HH", 8 + len(fake), 0) + fake
        for _ in range(chosen.repeats):
            # The kernel fills in the length, the identification and the header's checksum (raw(7)).
            header = struct.pack("!BBHHHBBH", 0x45, 0, 0, 0, 0x4000, 64, UDP, 0)
            raw.sendto(header + packet[12:20] + datagram, (socket.inet_ntoa(packet[16:20]), 0))
    queued.accept()


queue = netfilterqueue.NetfilterQueue()
queue.bind(chosen.qnum, decide)
queue.run()
