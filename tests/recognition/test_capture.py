"""Any capture that people have can be read, and what cannot is said in a sentence."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.tools.recognition.capture_file import Capture, Captured, CaptureError
from testbed.tools.recognition.replay import Replay, SeenFlow
from tests.censor import vectors
from tests.censor.packets import INSIDE6, OUTSIDE6, STUN_BINDING, ipv6, udp
from tests.recognition.files import ETHERNET_HEADER, RAW, Frame, pcap, pcapng, written

IPV4 = udp(STUN_BINDING).data
IPV6 = ipv6(
    struct.pack("!HHHH", 40000, 3478, 8 + len(STUN_BINDING), 0) + STUN_BINDING,
    17,
    INSIDE6,
    OUTSIDE6,
)
FRAMES = [(1.7e9 + number / 8, ETHERNET_HEADER + IPV4) for number in range(4)]


def seen(path: Path) -> list[SeenFlow]:
    replay = Replay()
    with Capture(path) as capture:
        for captured in capture:
            replay.show(captured)
    return list(replay.flows)


def captured_in(path: Path) -> list[Captured]:
    with Capture(path) as capture:
        return list(capture)


def wireless(extra: bytes = b"", control: bytes = b"\x08\x01") -> bytes:
    return control + bytes(22) + extra + b"\xaa\xaa\x03\0\0\0"


LINKS = {
    "Ethernet": (1, bytes(12), b"\x08\0", b"\x86\xdd"),
    "Ethernet, VLAN": (1, bytes(12) + b"\x81\0\0\7", b"\x08\0", b"\x86\xdd"),
    "Ethernet, two VLANs": (1, bytes(12) + b"\x88\xa8\0\7\x81\0\0\x08", b"\x08\0", b"\x86\xdd"),
    "Ethernet, MPLS": (1, bytes(12) + b"\x88\x47\0\0\0\x40\0\0\x11\x40", b"", b""),
    "Ethernet, PPPoE": (1, bytes(12) + b"\x88\x64\x11\0\0\1\0\0", b"\0\x21", b"\0\x57"),
    "PPPoE": (51, b"\x11\0\0\1\0\0", b"\0\x21", b"\0\x57"),
    "PPP": (9, b"\xff\x03", b"\0\x21", b"\0\x57"),
    "PPP, compressed": (9, b"", b"\x21", b"\x57"),
    "raw": (RAW, b"", b"", b""),
    "loopback, BSD": (0, b"", b"\2\0\0\0", b"\x1e\0\0\0"),
    "loopback, OpenBSD": (108, b"", b"\0\0\0\2", b"\0\0\0\x18"),
    "cooked": (113, bytes(14), b"\x08\0", b"\x86\xdd"),
    "802.11": (105, wireless(), b"\x08\0", b"\x86\xdd"),
    "802.11, QoS": (105, wireless(b"\0\0", b"\x88\1"), b"\x08\0", b"\x86\xdd"),
    "802.11, radiotap": (127, b"\0\0\x08\0" + bytes(4) + wireless(), b"\x08\0", b"\x86\xdd"),
}


@pytest.mark.parametrize("link", LINKS)
def test_a_packet_is_found_behind_each_usual_link_layer(link: str, tmp_path: Path) -> None:
    link_type, begin, before_4, before_6 = LINKS[link]
    for before, ip in ((before_4, IPV4), (before_6, IPV6)):
        path = written(tmp_path, pcap([(1.0, begin + before + ip)], link_type=link_type))
        [flow] = seen(path)
        assert "stun" in flow.labels
        assert flow.server.port == 3478


def test_linux_cooked_captures_of_version_2_are_read(tmp_path: Path) -> None:
    frames = [(1.0, kind + bytes(18) + ip) for kind, ip in ((b"\x08\0", IPV4), (b"\x86\xdd", IPV6))]
    flows = seen(written(tmp_path, pcap(frames, link_type=276)))
    assert ["stun" in flow.labels for flow in flows] == [True, True]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["micro", "nano", "ng", "ng, two interfaces"])
def test_times_are_seconds_since_the_first_frame(kind: str, order: str, tmp_path: Path) -> None:
    if kind.startswith("ng"):
        data = pcapng(FRAMES, order=order, interfaces=1 + ("two" in kind))
    else:
        data = pcap(FRAMES, order=order, nano=kind == "nano")
    captured = captured_in(written(tmp_path, data))
    assert [each.at for each in captured] == pytest.approx([0, 0.125, 0.25, 0.375], abs=2e-6)
    assert [each.number for each in captured] == [1, 2, 3, 4]
    assert {each.data for each in captured} == {IPV4}


def test_time_never_goes_back(tmp_path: Path) -> None:
    frames = [FRAMES[1], FRAMES[0], FRAMES[3]]
    assert [each.at for each in captured_in(written(tmp_path, pcap(frames)))] == [0, 0, 0.25]


def test_what_pads_a_frame_is_not_payload(tmp_path: Path) -> None:
    [captured] = captured_in(written(tmp_path, pcap([(1.0, FRAMES[0][1] + bytes(18))])))
    assert captured.data == IPV4


def test_a_packet_that_was_captured_in_part_keeps_its_size(tmp_path: Path) -> None:
    payload = STUN_BINDING[:2] + b"\0\x64" + STUN_BINDING[4:] + b"\xff" * 100
    frame = ETHERNET_HEADER + udp(payload).data
    with Capture(written(tmp_path, pcap([(1.0, frame)], snap_bytes=70))) as capture:
        [captured] = capture
    assert capture.cut == 1
    kept = frame[14:70]
    assert captured.data == kept + bytes(len(frame) - 14 - len(kept))


def in_fragments(packet: bytes, size_bytes: int) -> list[bytes]:
    """Cut an IPv4 packet (RFC 791, 3.2)."""
    header, data = packet[:20], packet[20:]
    parts = []
    for at in range(0, len(data), size_bytes):
        part = data[at : at + size_bytes]
        more = at + size_bytes < len(data)
        flags = (at // 8 | more << 13).to_bytes(2, "big")
        length = (20 + len(part)).to_bytes(2, "big")
        parts.append(header[:2] + length + b"\0\7" + flags + header[8:] + part)
    return parts


def in_fragments6(packet: bytes, size_bytes: int) -> list[bytes]:
    """Cut an IPv6 packet (RFC 8200, 4.5)."""
    header, data = packet[:40], packet[40:]
    parts = []
    for at in range(0, len(data), size_bytes):
        part = data[at : at + size_bytes]
        more = at + size_bytes < len(data)
        fragment = struct.pack("!BBHI", header[6], 0, at | more, 7)
        length = (len(fragment) + len(part)).to_bytes(2, "big")
        parts.append(header[:4] + length + b"\x2c" + header[7:] + fragment + part)
    return parts


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("order", [1, -1])
def test_fragments_are_put_together_whichever_comes_first(
    version: int, order: int, tmp_path: Path
) -> None:
    """A message that is well-formed as a whole alone: its length is looked at."""
    message = STUN_BINDING[:2] + b"\0\x0c" + STUN_BINDING[4:] + b"\x80\x22\0\x08" + b"software"
    if version == 4:
        packet = udp(message).data
        parts = in_fragments(packet, 24)
    else:
        body = struct.pack("!HHHH", 40000, 3478, 8 + len(message), 0) + message
        packet = ipv6(body, 17, INSIDE6, OUTSIDE6)
        parts = in_fragments6(packet, 24)
    assert len(parts) == 2
    frames = [(number / 10, part) for number, part in enumerate(parts[::order])]
    path = written(tmp_path, pcap(frames, link_type=RAW))
    [captured] = captured_in(path)
    assert captured.number == 2
    assert captured.data[-len(message) :] == message
    [flow] = seen(path)
    assert {"stun", "stun-strict"} <= flow.labels


def test_fragments_that_overlap_or_never_complete_make_no_packet(tmp_path: Path) -> None:
    first, second = in_fragments(udp(bytes(40)).data, 24)
    overlapping = second[:6] + (2).to_bytes(2, "big") + second[8:]
    for parts in ([first, overlapping], [second], [first]):
        frames = [(number / 10, part) for number, part in enumerate(parts)]
        assert not captured_in(written(tmp_path, pcap(frames, link_type=RAW)))


def test_a_file_that_ends_early_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    for data in (pcap(FRAMES), pcapng(FRAMES)):
        with Capture(written(tmp_path, data[:-9])) as capture:
            assert len(list(capture)) == 3
        assert capture.ends_early


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "truncated"),
        (b"not a capture, but text that is long enough", "neither pcap nor pcapng"),
        (pcap(FRAMES, link_type=147), "link type 147"),
        (pcap(FRAMES)[:20], "truncated"),
    ],
)
def test_what_is_no_capture_is_said(data: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=words):
        Capture(written(tmp_path, data))
    with pytest.raises(CaptureError, match="No such file"):
        Capture(tmp_path / "nosuch.pcap")


def call_frames() -> list[Frame]:
    sent = [*vectors.messenger_call("whatsapp")[:20], (True, vectors.dns_query())]
    return [
        (number / 50, ETHERNET_HEADER + udp(payload, up=up).data)
        for number, (up, payload) in enumerate(sent)
    ]


WHOLE = (pcap(call_frames()), pcapng(call_frames(), interfaces=2), pcap(call_frames(), nano=True))


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(WHOLE),
    st.lists(st.tuples(st.integers(0, 1 << 14), st.integers(0, 255)), max_size=8),
    st.integers(0, 1 << 14),
)
def test_a_capture_with_any_bytes_changed_is_read_or_refused(
    data: bytes, changes: list[tuple[int, int]], cut: int
) -> None:
    changed = bytearray(data)
    for at, value in changes:
        changed[at % len(changed)] = value
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), bytes(changed[: len(changed) - cut % 64]))
        try:
            flows = seen(path)
        except CaptureError:
            return
    assert sum(sum(flow.packets.values()) for flow in flows) <= 2 * len(call_frames())


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(list(LINKS.values())), st.binary(max_size=120))
def test_frames_of_any_bytes_are_read(link: tuple[int, bytes, bytes, bytes], frame: bytes) -> None:
    random = Random(len(frame))
    link_type, begin, before, _ = link
    behind = begin + before
    frames = [(0.0, frame), (0.1, behind + frame), (0.2, behind + random.randbytes(9))]
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), pcap(frames, link_type=link_type))
        with Capture(path) as capture:
            packets = len(list(capture))
        assert capture.frames == len(frames)
        assert packets + capture.not_ip <= len(frames)
