"""Makes labelled flows of a run's captures: python -m tests.recognition.lab_flows RUN FILE.

`tests/data/captures/lab.jsonl.gz` was made so, of cells of 12 s without a censor, of each transport
with the messengers `whatsapp` and `telegram-model`, and of direct calls with `max`.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from testbed.censor.detectors.stun import MAGIC_COOKIE
from testbed.censor.packet import Direction, Endpoint, Packet, parse_packet
from testbed.tools.recognition.capture_file import Capture

_UDP_PACKETS, _TCP_PACKETS, _FLOWS = 160, 40, 6
_HEAD_BYTES = {"udp": 32, "tcp": 6}
_STUN_HEAD_BYTES = 20
_CALLS = {"whatsapp": "WhatsAppCall", "telegram-model": "TelegramCall", "max": "MaxCall"}
_LABELS = {
    "hysteria2": "QUIC.Hysteria2",
    "tuic": "QUIC.Tuic",
    "wireguard": "WireGuard",
    "openvpn": "OpenVPN",
    "openvpn-over-tcp": "OpenVPN",
    "iodine": "DNS.Iodine",
    "shadowsocks2022": "hidden-call.Shadowsocks2022",
    "shadowsocks-libev": "hidden-call.Shadowsocks",
    "duplicate": "hidden-call.Duplicate",
    "snowflake": "DTLS.Snowflake",
    "turn": "TURN.Call",
}
"""By transport; others are named as themselves."""
_MESSENGER, _DOMESTIC = b"\x0a\x02\x03\x02", b"\x0a\x01\x03"
_HTTPS, _STUN_PORT = 443, 3478


def flows(cell: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the flows of a cell's capture, of each label the first six."""
    messenger, transport, *_ = cell.name.split("--")
    found: dict[tuple[str, Endpoint, Endpoint], list[tuple[float, Packet]]] = {}
    with Capture(cell / "middlebox-inside.pcap") as capture:
        for captured in capture:
            packet = parse_packet(captured.data, Direction.UP)
            if packet.protocol in _HEAD_BYTES and packet.payload:
                ends = sorted((packet.source, packet.destination))
                flow = found.setdefault((packet.protocol, ends[0], ends[1]), [])
                if len(flow) < (_UDP_PACKETS if packet.protocol == "udp" else _TCP_PACKETS):
                    flow.append((captured.at, packet))
    counts: dict[str, int] = {}
    for packets in found.values():
        first = packets[0][1]
        label = _label(messenger, transport, first)
        counts[label] = counts.get(label, 0) + 1
        if counts[label] <= _FLOWS and (label != "Chat" or transport == "direct"):
            yield {
                "capture": f"lab {transport}",
                "label": f"lab.{label}",
                "protocol": first.protocol,
                "ports": [first.source.port, first.destination.port],
                "packets": [_row(at, packet, first.source) for at, packet in packets],
            }


def _label(messenger: str, transport: str, first: Packet) -> str:
    server = first.destination
    is_domestic = server.address[:3] == _DOMESTIC
    is_chats = is_domestic or server == Endpoint(_MESSENGER, _HTTPS)
    if first.protocol == "tcp" and is_chats and first.payload[4:8] != MAGIC_COOKIE:
        return "Chat"
    if transport == "direct" or is_domestic:
        return _CALLS[messenger]
    if transport == "snowflake" and server.port == _STUN_PORT:
        return "STUN.Snowflake"
    return _LABELS.get(transport, transport)


def _row(at: float, packet: Packet, client: Endpoint) -> list[object]:
    is_stun = packet.payload[4:8] == MAGIC_COOKIE
    head = packet.payload[: _STUN_HEAD_BYTES if is_stun else _HEAD_BYTES[packet.protocol]]
    return [round(at, 6), int(packet.source != client), len(packet.payload), head.hex()]


def main(run: Path, file: Path) -> None:
    """Write the flows of a run's captures."""
    found = [flow for cell in sorted((run / "cells").iterdir()) for flow in flows(cell)]
    lines = [
        json.dumps({"flow": number, **flow}, separators=(",", ":")) + "\n"
        for number, flow in enumerate(found, start=1)
    ]
    file.write_bytes(gzip.compress("".join(lines).encode(), mtime=0))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
