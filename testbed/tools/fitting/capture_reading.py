"""Reads captures: which flows they have, what the detectors recognise in them, and all packets.

The file is read once, one packet at a time, through the detectors of `recognise`. Of each packet
only its numbers are kept, and of at most `MAX_PACKETS` packets, so that memory is bounded whatever
the size of the file; a packet beyond that is counted.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

import numpy as np

from testbed.censor.packet import Endpoint, Packet, Quoted
from testbed.tools.fitting.columns import Columns, FlowColumns
from testbed.tools.recognition.capture_file import Capture, CaptureError
from testbed.tools.recognition.replay import Networks, Replay, SeenFlow

MAX_PACKETS = 3_000_000
"""Some 200 MB in all."""
_MAX_ERRORS = 10_000
_FULL_TTLS = (64, 128, 255)
"""What common systems send with: a packet with less has crossed a router."""
_HASHED_BYTES = 1 << 20


class IcmpError(NamedTuple):
    """An ICMP error about one of the capture's packets."""

    at_s: float
    type_: int
    code: int
    source: bytes
    ttl: int
    quoted: Quoted


@dataclass(frozen=True)
class FlowRecord:
    """A flow of a capture and its packets."""

    seen: SeenFlow
    columns: Columns
    local: Endpoint
    """The flow's end that belongs to the capture's own machine."""
    remote: Endpoint

    @property
    def name(self) -> str:
        """Return a name without addresses."""
        return f"flow {self.seen.number} ({self.seen.protocol}, server's port {self.server_port})"

    @property
    def server_port(self) -> int:
        """Return the port of the destination of the flow's first packet."""
        return self.seen.server.port

    @property
    def labels(self) -> frozenset[str]:
        """Return what the detectors recognised, without values such as names."""
        return frozenset(self.seen.labels)


@dataclass(frozen=True)
class CaptureRecord:
    """What was read from a capture file."""

    path: Path
    sha256: str
    began_at: float
    """When its first frame was captured (s since 1970)."""
    length_s: float
    local: bytes
    """The address of the machine that captured, as far as the packets show it."""
    flows: Sequence[FlowRecord]
    errors: Sequence[IcmpError]
    notes: Sequence[str]
    """What limits the answer: packets that were cut off or not kept, for instance."""


@dataclass
class _Reader:
    """The columns of the flows that were read so far."""

    replay: Replay
    columns: dict[int, FlowColumns] = field(default_factory=dict)
    errors: list[IcmpError] = field(default_factory=list)
    kept: int = 0
    dropped: int = 0
    last_s: float = 0.0

    def read(self, capture: Capture) -> None:
        """Read a capture to its end."""
        for captured in capture:
            shown = self.replay.show(captured)
            self.last_s = captured.at
            if shown is None or self.kept >= MAX_PACKETS:
                self.dropped += 1
                continue
            flow, packet = shown
            if packet.protocol in ("udp", "tcp") and not packet.is_later_fragment:
                columns = self.columns.setdefault(flow.number, FlowColumns(flow.client))
                columns.add(packet, captured.at)
                self.kept += 1
            elif packet.quoted is not None and len(self.errors) < _MAX_ERRORS:
                self.errors.append(_icmp_error(packet, packet.quoted, captured.at))


def read_capture(path: Path, inside: Networks = ()) -> CaptureRecord:
    """Read a capture; `inside` has the networks of the machine that captured, if they are known.

    Raises:
        CaptureError: The file is no capture, or holds no packet of UDP or TCP.
    """
    with Capture(path) as capture:
        reader = _Reader(Replay(inside=inside))
        reader.read(capture)
    if not reader.columns:
        raise CaptureError(f"{path} holds no packet of UDP or TCP in its {capture.frames} frames")
    seen = {flow.number: flow for flow in reader.replay.flows}
    local = _local_address(reader.columns, seen, inside)
    flows = [
        _flow_record(seen[number], columns, local) for number, columns in reader.columns.items()
    ]
    return CaptureRecord(
        path,
        sha256_of(path),
        capture.began_at or 0.0,
        reader.last_s,
        local,
        flows,
        reader.errors,
        list(_notes(capture, reader)),
    )


def _icmp_error(packet: Packet, quoted: Quoted, at_s: float) -> IcmpError:
    at = packet.ip_header_bytes
    ttl = packet.data[8] if packet.data[0] >> 4 == 4 else packet.data[7]
    return IcmpError(at_s, packet.data[at], packet.data[at + 1], packet.source.address, ttl, quoted)


def _flow_record(seen: SeenFlow, columns: FlowColumns, local: bytes) -> FlowRecord:
    is_client = seen.client.address == local or seen.server.address != local
    ends = (seen.client, seen.server) if is_client else (seen.server, seen.client)
    return FlowRecord(seen, columns.columns(ends[0].address), *ends)


def _local_address(
    columns: dict[int, FlowColumns], seen: dict[int, SeenFlow], inside: Networks
) -> bytes:
    """Return the address of the machine that captured.

    It is an end of most packets. Where two ends have as many, its packets have a TTL as they are
    sent with, since they have crossed no router; failing that, it sent first.
    """
    packets: Counter[bytes] = Counter()
    unrouted: Counter[bytes] = Counter()
    for number, of_flow in columns.items():
        flow = seen[number]
        ttl = np.frombuffer(of_flow.ttl, dtype=np.uint8)
        from_client = np.frombuffer(of_flow.from_client, dtype=np.uint8).astype(bool)
        full = np.isin(ttl, _FULL_TTLS)
        for end, sent in ((flow.client, from_client), (flow.server, ~from_client)):
            packets[end.address] += len(ttl)
            unrouted[end.address] += int(full[sent].sum()) - int((~full)[sent].sum())
    if within := [each for each in packets if _is_in(each, inside)]:
        return max(within, key=lambda each: packets[each])
    most = max(packets.values())
    # A machine with several addresses, or a relay with many flows: nine in ten are enough.
    likely = [each for each, count in packets.items() if count >= 0.9 * most]
    return max(likely, key=lambda each: (unrouted[each] > 0, packets[each]))


def _is_in(address: bytes, networks: Networks) -> bool:
    if len(address) not in (4, 16):
        return False
    return any(ip_address(address) in network for network in networks)


def _notes(capture: Capture, reader: _Reader) -> Iterable[str]:
    if capture.ends_early is not None:
        yield f"The file ends early, after {capture.frames} frames: {capture.ends_early}."
    if capture.not_ip:
        yield f"{capture.not_ip} of {capture.frames} frames carry no IP."
    if capture.cut:
        yield f"{capture.cut} packets were captured in part."
    if reader.dropped:
        yield f"{reader.dropped} packets were not kept: there are too many flows or packets."


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASHED_BYTES):
            digest.update(block)
    return digest.hexdigest()
