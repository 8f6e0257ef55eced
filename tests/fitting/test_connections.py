"""Resets, ICMP errors, silence, and what becomes of later flows to the same server."""

from __future__ import annotations

from pathlib import Path

from testbed.censor.packet import Endpoint
from testbed.tools.calibration.packets import ACK, PSH, SYN, TcpNumbers, packet
from testbed.tools.fitting.capture_reading import read_capture
from testbed.tools.fitting.examination import examine
from testbed.tools.fitting.fit_findings import Finding
from testbed.transport.internet import RST
from tests.recognition.files import RAW, Frame, pcap, written

ME = Endpoint(bytes([192, 168, 1, 5]), 40_000)
SERVER = Endpoint(bytes([203, 0, 113, 9]), 443)
ROUTER = Endpoint(bytes([198, 51, 100, 1]), 0)
SEGMENT_BYTES = 1000
SERVERS_TTL, FORGED_TTL = 52, 61


def with_ttl(data: bytes, ttl: int) -> bytes:
    return data[:8] + bytes([ttl]) + data[9:]


def connection(segments: int, *, port: int = ME.port, begins_s: float = 1.0) -> list[Frame]:
    """Return a connection over which the server sends some segments."""
    me = ME._replace(port=port)

    def down(number: int, flags: int, payload: bytes) -> bytes:
        data = packet("tcp", SERVER, me, payload, 1, TcpNumbers(number, 100, flags))
        return with_ttl(data, SERVERS_TTL)

    frames = [
        (begins_s, packet("tcp", me, SERVER, b"", 1, TcpNumbers(99, 0, SYN))),
        (begins_s + 0.05, down(0, SYN | ACK, b"")),
        (begins_s + 0.06, packet("tcp", me, SERVER, b"x" * 200, 1, TcpNumbers(100, 1))),
    ]
    for row in range(segments):
        data = down(1 + row * SEGMENT_BYTES, PSH | ACK, bytes(SEGMENT_BYTES))
        frames.append((begins_s + 0.1 + row * 0.01, data))
    return frames


def reset(at_s: float, sequence: int) -> Frame:
    data = packet("tcp", SERVER, ME, b"", 1, TcpNumbers(sequence, 300, RST))
    return at_s, with_ttl(data, FORGED_TTL)


def attempts(port: int, begins_s: float) -> list[Frame]:
    """Return a connection that never gets an answer."""
    me = ME._replace(port=port)
    syn = packet("tcp", me, SERVER, b"", 1, TcpNumbers(99, 0, SYN))
    return [(begins_s + 2 * number, syn) for number in range(6)]


def found(frames: list[Frame], folder: Path) -> list[Finding]:
    path = written(folder, pcap(sorted(frames), link_type=RAW))
    return list(examine(read_capture(path)).findings)


def one(findings: list[Finding], kind: str) -> Finding:
    [finding] = [each for each in findings if each.kind == kind]
    return finding


def test_a_reset_is_found_with_its_ttl_and_the_packet_before_it(tmp_path: Path) -> None:
    frames = [*connection(30), reset(1.5, 30 * SEGMENT_BYTES + 1)]
    finding = one(found(frames, tmp_path), "reset")
    ttl = finding.number("ttl")
    assert ttl is not None
    assert ttl.estimate.value == FORGED_TTL
    assert f"where the server's segments have {SERVERS_TTL}" in finding.basis
    assert "another way or from elsewhere" in finding.basis
    assert finding.after_s is not None
    assert finding.after_s.value == 0.5
    assert finding.trigger.startswith("last before it: packet 33 of the flow (a segment with 1000")


def test_a_reset_by_the_server_itself_is_not_called_foreign(tmp_path: Path) -> None:
    at_s, data = reset(1.5, 30 * SEGMENT_BYTES + 1)
    frames = [*connection(30), (at_s, with_ttl(data, SERVERS_TTL))]
    assert "elsewhere" not in one(found(frames, tmp_path), "reset").basis


def test_later_connections_without_an_answer_are_residual_blocking(tmp_path: Path) -> None:
    frames = [*connection(30), reset(1.5, 30 * SEGMENT_BYTES + 1)]
    assert not [each for each in found(frames, tmp_path) if each.kind == "list"]
    later = [*frames, *attempts(40_001, 5.0), *attempts(40_002, 20.0)]
    finding = one(found(later, tmp_path), "list")
    assert finding.affected == 2
    lasts = finding.number("for_s")
    assert lasts is not None
    assert lasts.estimate.value == 29.0


def test_a_connection_that_falls_silent_while_this_end_asks_on_is_frozen(tmp_path: Path) -> None:
    frames = connection(16)
    again = packet("tcp", ME, SERVER, b"x" * 200, 1, TcpNumbers(300, 16 * SEGMENT_BYTES + 1))
    frames += [(3.0 + number, again) for number in range(15)]
    finding = one(found(frames, tmp_path), "freeze")
    received = finding.number("after_bytes of this direction")
    assert received is not None
    sent_bytes = 16 * (SEGMENT_BYTES + 40) + 40
    assert received.estimate.low <= sent_bytes <= received.estimate.high


def test_icmp_errors_are_told_with_who_sent_them(tmp_path: Path) -> None:
    frames = []
    for number in range(6):
        sent = packet("udp", ME, SERVER, bytes(100), 1)
        error = bytes([3, 13, 0, 0, 0, 0, 0, 0]) + sent[:28]
        header = packet("icmp", ROUTER, ME, b"", 1)[:20]
        total = (20 + len(error)).to_bytes(2, "big")
        answer = header[:2] + total + header[4:] + error
        frames += [(1.0 + number, sent), (1.03 + number, with_ttl(answer, 250))]
    finding = one(found(frames, tmp_path), "answer")
    assert finding.affected == 6
    assert finding.basis.startswith("ICMP prohibited from another address, with TTL 250")
