"""What leaves instead of a packet is what the tools document: order, TTL, checksum and length."""

from __future__ import annotations

import re
import socket
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.censor.detectors.quic import crypto_frames, open_initial
from testbed.transport import hello
from testbed.transport.desync.recognised import recognise
from testbed.transport.desync.rewriting import Desync
from testbed.transport.desync.strategy import Layer7
from testbed.transport.internet import (
    ACK,
    PSH,
    SYN,
    Segment,
    TcpNumbers,
    checksum,
    encode,
    parse,
)
from tests.transport.desync.told import MESSENGER, desync, nothing, sent, told

CLIENT, SERVER = socket.inet_aton("10.1.1.1"), socket.inet_aton(MESSENGER)
STUN = b"\0\1\0\0\x21\x12\xa4\x42" + bytes(12)
TLS = hello.tls("chat.messenger.example", "h2")
NAME = TLS.index(b"chat.")
END = len(TLS)
HTTP = b"GET /x HTTP/1.1\r\nHost: chat.messenger.example\r\n\r\n"
TIMES = b"\1\1\x08\x0a" + (700_000).to_bytes(4, "big") + bytes(4)


def udp(payload: bytes = STUN, port: int = 3478) -> Segment:
    return Segment(CLIENT, SERVER, 40000, port, payload)


def tcp(payload: bytes = TLS, sequence: int = 100_001, port: int = 443) -> Segment:
    flags = PSH | ACK if payload else SYN
    return replace(udp(payload, port), tcp=TcpNumbers(sequence, 200_000, flags, 500, 0, TIMES))


FAKE, MULTISPLIT = "--dpi-desync=fake", "--dpi-desync=multisplit --dpi-desync-split-pos"
TABLE: list[tuple[str, Segment, list[str]]] = [
    # Fakes come first; where a tactic names none, they are nfqws's own.
    (FAKE, udp(), ["fake 0-64", "real 0-20"]),
    (f"{FAKE} --dpi-desync-repeats=2", udp(), ["fake 0-64", "fake 0-64", "real 0-20"]),
    (f"{FAKE} --dpi-desync-ttl=4", udp(), ["fake 0-64, TTL 4", "real 0-20"]),
    (f"{FAKE} --dpi-desync-fooling=badsum", udp(), ["fake 0-64, bad checksum", "real 0-20"]),
    (
        f"{FAKE} --dpi-desync-fake-stun=0x0102 --dpi-desync-fake-stun=0x010203",
        udp(),
        ["fake 0-2", "fake 0-3", "real 0-20"],
    ),
    # What is not recognised counts only if it is asked for.
    (FAKE, udp(b"opaque"), ["real 0-6"]),
    (f"{FAKE} --dpi-desync-any-protocol", udp(b"opaque"), ["fake 0-64", "real 0-6"]),
    ("--dpi-desync=fakeknown --dpi-desync-any-protocol=1", udp(b"opaque"), ["real 0-6"]),
    ("--dpi-desync=fakeknown --dpi-desync-any-protocol=1", udp(), ["fake 0-64", "real 0-20"]),
    (f"{FAKE} --dpi-desync-any-protocol", tcp(b"opaque"), ["fake 0-256", "real 0-6"]),
    # Filters.
    (f"--filter-udp=1400,3000-4000 {FAKE}", udp(), ["fake 0-64", "real 0-20"]),
    (f"--filter-udp=1400 {FAKE}", udp(), ["real 0-20"]),
    (f"--filter-udp=~3478 {FAKE}", udp(), ["real 0-20"]),
    (f"--filter-tcp=3478 {FAKE}", udp(), ["real 0-20"]),
    (f"--filter-l7=discord {FAKE}", udp(), ["real 0-20"]),
    (f"--filter-udp=3478 --new {FAKE}", udp(), ["real 0-20"]),
    (f"--filter-udp=3478 --skip --new {FAKE}", udp(), ["fake 0-64", "real 0-20"]),
    (f"--wf-udp=443 {FAKE}", udp(), ["real 0-20"]),
    (f"--hostlist-domains=messenger.example {FAKE}", udp(), ["real 0-20"]),
    (
        f"--hostlist-domains=messenger.example {FAKE} --dpi-desync-fake-tls=0x00",
        tcp(),
        ["fake 0-1", f"real 0-{END}"],
    ),
    (f"--hostlist-exclude-domains=messenger.example {FAKE}", tcp(), [f"real 0-{END}"]),
    (f"--hostlist-domains=^messenger.example {FAKE}", tcp(), [f"real 0-{END}"]),
    (f"--ipset-ip=10.2.0.0/16 {FAKE}", udp(), ["fake 0-64", "real 0-20"]),
    (f"--ipset-ip=10.9.0.0/16 {FAKE}", udp(), ["real 0-20"]),
    (f"--ipset=gone.txt {FAKE}", udp(), ["fake 0-64", "real 0-20"]),
    (f"--ipset-exclude-ip={MESSENGER} {FAKE}", udp(), ["real 0-20"]),
    # Pieces of TCP.
    (f"{MULTISPLIT}=2,10", tcp(), ["real 0-2", "real 2-10", f"real 10-{END}"]),
    (f"{MULTISPLIT}=-3", tcp(), [f"real 0-{END - 3}", f"real {END - 3}-{END}"]),
    (f"{MULTISPLIT}=host", tcp(), [f"real 0-{NAME}", f"real {NAME}-{END}"]),
    (f"{MULTISPLIT}=midsld", tcp(), [f"real 0-{NAME + 9}", f"real {NAME + 9}-{END}"]),
    (f"{MULTISPLIT}=sniext+1", tcp(), [f"real 0-{NAME - 4}", f"real {NAME - 4}-{END}"]),
    (f"{MULTISPLIT}=method+2", tcp(HTTP), ["real 0-2", "real 2-49"]),
    (f"{MULTISPLIT}=method+2", tcp(), [f"real 0-{END}"]),
    (f"{MULTISPLIT}=9999", tcp(), [f"real 0-{END}"]),
    (f"{MULTISPLIT}=2", udp(), ["real 0-20"]),
    ("--dpi-desync=split2", tcp(), ["real 0-2", f"real 2-{END}"]),
    (
        "--dpi-desync=multidisorder --dpi-desync-split-pos=2,10",
        tcp(),
        [f"real 10-{END}", "real 2-10", "real 0-2"],
    ),
    (
        f"{MULTISPLIT}=2 --dpi-desync-split-seqovl=5",
        tcp(),
        ["fake -5-2", f"real 2-{END}"],
    ),
    (
        "--dpi-desync=disorder2 --dpi-desync-split-pos=8 --dpi-desync-split-seqovl=5",
        tcp(),
        [f"fake 3-{END}", "real 0-8"],
    ),
    (
        "--dpi-desync=disorder2 --dpi-desync-split-pos=4 --dpi-desync-split-seqovl=5",
        tcp(),
        [f"real 4-{END}", "real 0-4"],
    ),
    (
        "--dpi-desync=fakedsplit --dpi-desync-split-pos=2 --dpi-desync-ttl=3",
        tcp(),
        [
            *("fake 0-2, TTL 3", "real 0-2", "fake 0-2, TTL 3"),
            *(f"fake 2-{END}, TTL 3", f"real 2-{END}", f"fake 2-{END}, TTL 3"),
        ],
    ),
    (
        "--dpi-desync=fakeddisorder --dpi-desync-split-pos=9999,midsld --dpi-desync-fooling=badsum",
        tcp(),
        [
            f"fake {NAME + 9}-{END}, bad checksum",
            f"real {NAME + 9}-{END}",
            f"fake {NAME + 9}-{END}, bad checksum",
            f"fake 0-{NAME + 9}, bad checksum",
            f"real 0-{NAME + 9}",
            f"fake 0-{NAME + 9}, bad checksum",
        ],
    ),
    (
        "--dpi-desync=hostfakesplit --dpi-desync-fooling=ts",
        tcp(),
        [
            f"real 0-{NAME}",
            f"fake {NAME}-{NAME + 22}, other time",
            f"real {NAME}-{NAME + 22}",
            f"fake {NAME}-{NAME + 22}, other time",
            f"real {NAME + 22}-{END}",
        ],
    ),
    (
        "--dpi-desync=fake,multisplit --dpi-desync-split-pos=1 --dpi-desync-fake-tls=0x0000",
        tcp(),
        ["fake 0-2", "real 0-1", f"real 1-{END}"],
    ),
    # Disguises of TCP.
    (
        f"{FAKE} --dpi-desync-fake-tls=0x00 --dpi-desync-fooling=badseq",
        tcp(),
        ["fake -10000--9999, acknowledging -66000", f"real 0-{END}"],
    ),
    (
        f"{FAKE} --dpi-desync-fake-tls=0x00 --dpi-desync-fooling=badseq "
        "--dpi-desync-badseq-increment=2 --dpi-desync-badack-increment=0",
        tcp(),
        ["fake 2-3", f"real 0-{END}"],
    ),
    (
        f"{FAKE} --dpi-desync-fake-tls=0x00 --dpi-desync-fooling=datanoack,md5sig",
        tcp(),
        ["fake 0-1, no ACK, signed", f"real 0-{END}"],
    ),
    ("--dpi-desync=rst --dpi-desync-ttl=2", tcp(), ["real 0-0, no ACK, TTL 2", f"real 0-{END}"]),
    # Other forms.
    ("--dpi-desync=udplen", udp(), ["fake 0-22"]),
    ("--dpi-desync=udplen --dpi-desync-udplen-increment=-4", udp(), ["real 0-16"]),
    ("--dpi-desync=ipfrag2", udp(), ["fragment at 0 of 8", "fragment at 8 of 20"]),
    (
        "--dpi-desync=fake,ipfrag2 --dpi-desync-ipfrag-pos-udp=16",
        udp(),
        ["fake 0-64", "fragment at 0 of 16", "fragment at 16 of 12"],
    ),
    ("--dup=2 --dup-ttl=3", udp(), ["real 0-20, TTL 3", "real 0-20, TTL 3", "real 0-20"]),
    ("--dup=1 --dup-replace --dup-fooling=badsum", udp(), ["real 0-20, bad checksum"]),
    ("--dup=1 --dpi-desync=split2", tcp(), ["real 0-2", f"real 2-{END}"]),
    ("--orig-ttl=5 --dpi-desync=fake", udp(), ["fake 0-64, TTL 5", "real 0-20, TTL 5"]),
    # byedpi.
    ("ciadpi -s3 -s7", tcp(), ["real 0-3", "real 3-7", f"real 7-{END}"]),
    ("ciadpi --split 1:3:5", tcp(), ["real 0-1", "real 1-6", "real 6-11", f"real 11-{END}"]),
    ("ciadpi --disorder 7", tcp(), [f"real 7-{END}", "real 0-7"]),
    ("ciadpi -s1 -d5", tcp(), ["real 0-1", f"real 5-{END}", "real 1-5"]),
    ("ciadpi --fake 7", tcp(), ["fake 0-7, TTL 8", f"real 7-{END}", "real 0-7"]),
    ("ciadpi -f7 -S", tcp(), ["fake 0-7, signed", f"real 7-{END}", "real 0-7"]),
    ("ciadpi -s0+sm", tcp(), [f"real 0-{NAME + 11}", f"real {NAME + 11}-{END}"]),
    ("ciadpi -K h -s1", tcp(), [f"real 0-{END}"]),
    ("ciadpi -K h -s1 -An -s2", tcp(), ["real 0-2", f"real 2-{END}"]),
    ("ciadpi -V 80 -s1", tcp(), [f"real 0-{END}"]),
    ("ciadpi -s1", udp(), ["real 0-20"]),
    ("ciadpi -a 2 -t 5", udp(), ["fake 0-64, TTL 5", "fake 0-64, TTL 5", "real 0-20"]),
]


@pytest.mark.parametrize(("command", "packet", "leaves"), TABLE)
def test_a_packet_is_replaced_as_documented(
    command: str, packet: Segment, leaves: list[str]
) -> None:
    assert sent(command, packet) == [leaves]


def test_every_option_of_the_table_was_understood_without_a_note() -> None:
    commands = {command for command, _, _ in TABLE if "=gone" not in command}
    noted = {command: desync(command) for command in commands}
    assert all(isinstance(each, Desync) for each in noted.values())


@pytest.mark.parametrize(
    ("limit", "changed"),
    [
        ("", [1, 1, 1, 1]),
        ("--dpi-desync-cutoff=n3", [1, 1, 0, 0]),
        ("--dpi-desync-cutoff=d2", [1, 0, 0, 0]),
        ("--dpi-desync-start=n2 --dpi-desync-cutoff=4", [0, 1, 1, 0]),
        ("--dpi-desync-cutoff=s21", [1, 0, 0, 0]),
    ],
)
def test_limits_count_the_packets_of_each_flow(limit: str, changed: list[int]) -> None:
    found = sent(f"{FAKE} {limit}", *[udp()] * 4)
    assert [len(leaves) - 1 for leaves in found] == changed
    rewriter = desync(f"{FAKE} {limit}")
    rewriter.sent(encode(udp()), 0.0)
    others = rewriter.sent(encode(replace(udp(), source_port=40001)), 0.0)
    assert len(others) - 1 == changed[0]


def test_packets_without_payload_count_for_n_and_not_for_d() -> None:
    opening = (tcp(b"", 100_000), tcp(b"x" * 9))
    for limit, fakes in (("n2", 0), ("n3", 1), ("d2", 1), ("s2", 1), ("s1", 0)):
        command = f"{FAKE} --dpi-desync-any-protocol --dpi-desync-cutoff={limit}"
        assert [len(each) - 1 for each in sent(command, *opening)] == [0, fakes], limit


def test_an_automatic_ttl_is_learnt_from_answers_and_kept_for_later_flows() -> None:
    rewriter = desync(f"{FAKE} --dpi-desync-autottl=-1:1-20")
    assert told(rewriter.sent(encode(udp()), 0.0), udp())[0] == "fake 0-64"
    answer = replace(udp(), source=SERVER, destination=CLIENT, ttl=60)
    rewriter.received(encode(answer), 0.1)
    later = replace(udp(), source_port=40009)
    for flow in (udp(), later):
        assert told(rewriter.sent(encode(flow), 9.0), flow)[0] == "fake 0-64, TTL 3"


def test_a_bound_that_would_let_a_fake_arrive_makes_the_fixed_ttl_count() -> None:
    rewriter = desync(f"{FAKE} --dpi-desync-autottl=-1:9-20 --dpi-desync-ttl=2")
    rewriter.received(encode(replace(udp(), source=SERVER, destination=CLIENT, ttl=60)), 0.0)
    assert told(rewriter.sent(encode(udp()), 0.0), udp())[0] == "fake 0-64, TTL 2"


def test_fakes_are_numbered_after_the_packet_and_it_leaves_as_it_was() -> None:
    packet = encode(replace(udp(), identification=65535))
    first, second, third = desync(f"{FAKE} --dpi-desync-repeats=2").sent(packet, 0.0)
    assert third is packet
    assert [first[4:6], second[4:6]] == [b"\0\0", b"\0\1"]


def test_what_is_made_can_have_no_number() -> None:
    packet = encode(replace(udp(), identification=7))
    first, second, third = desync(f"{FAKE} --dpi-desync-repeats=2 --ip-id=zero").sent(packet, 0.0)
    assert third is packet
    assert [first[4:6], second[4:6]] == [bytes(2), bytes(2)]


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("ya.ru", r"[0-9a-z]{16}\.ya\.ru"),
        (30 * "a" + ".b", "a{20}\\.b"),
        ("", r"[0-9a-z]{18}\.com"),
    ],
)
def test_a_fake_host_ends_as_it_is_told_to(template: str, name: str) -> None:
    mod = f"--dpi-desync-hostfakesplit-mod=host={template}" if template else ""
    packets = desync(f"--dpi-desync=hostfakesplit {mod}").sent(encode(tcp()), 0.0)
    fake = parse(packets[1])
    assert fake is not None
    assert re.fullmatch(name, fake.payload.decode())


@pytest.mark.parametrize(
    ("option", "layer7"),
    [
        ("--dpi-desync-fake-stun=stun.bin", "stun"),
        ("--dpi-desync-fake-stun=/opt/files/fake/quic_initial_www_google_com.bin", "quic"),
        ("--dpi-desync-fake-stun=wireguard_initiation.bin", "wireguard"),
        ("--dpi-desync-fake-stun=discord-ip-discovery-with-port.bin", "discord"),
    ],
)
def test_a_fake_that_stands_for_a_file_is_what_its_name_says(option: str, layer7: Layer7) -> None:
    fake = parse(desync(f"{FAKE} {option}").sent(encode(udp()), 0.0)[0])
    assert fake is not None
    assert recognise(fake.payload, is_tcp=False).layer7 == layer7


def test_an_initial_that_is_made_names_the_server() -> None:
    rewriter = desync(f"{FAKE} --dpi-desync-fake-stun=quic_initial_vk_com.bin")
    fake = parse(rewriter.sent(encode(udp()), 0.0)[0])
    assert fake is not None
    initial = open_initial(fake.payload)
    assert initial is not None
    assert b"vk.com" in crypto_frames(initial.frames)[0][1]


def test_a_client_hello_that_is_made_has_the_real_ones_session() -> None:
    real = TLS[:43] + bytes([4]) + b"sess" + TLS[44:]
    real = real[:3] + (len(real) - 5).to_bytes(2, "big") + real[5:]
    mods = "--dpi-desync-fake-tls=! --dpi-desync-fake-tls-mod=dupsid,sni=ya.ru"
    fake = parse(desync(f"{FAKE} {mods}").sent(encode(tcp(real)), 0.0)[0])
    assert fake is not None
    assert fake.payload[43:48] == b"\x04sess"
    named = recognise(fake.payload, is_tcp=True).named
    assert named is not None
    assert named.name == "ya.ru"


def test_an_empty_strategy_lets_every_packet_pass_as_it_is() -> None:
    for packet in (encode(udp()), encode(tcp()), b"", b"\x45", bytes(40)):
        [same] = desync("").sent(packet, 0.0)
        assert same is packet


COMMANDS = st.sampled_from([command for command, _, _ in TABLE])


@given(COMMANDS, st.binary(max_size=60), st.booleans())
def test_any_bytes_leave_in_some_form(command: str, data: bytes, is_packet: bool) -> None:
    packet = encode(udp(data)) if is_packet else data
    rewriter = desync(command)
    rewriter.received(packet, 0.0)
    assert rewriter.sent(packet, 0.0)


@given(
    st.lists(st.sampled_from(["1", "5", "-2", "midsld", "host", "sniext"]), min_size=1),
    st.sampled_from(["multisplit", "multidisorder", "fakedsplit", "fakeddisorder"]),
    st.sampled_from([TLS, HTTP, b"GET / HTTP/1.1\r\n\r\n"]),
)
def test_what_servers_accept_is_the_whole_payload(at: list[str], mode: str, payload: bytes) -> None:
    packets = desync(
        f"--dpi-desync={mode} --dpi-desync-split-pos={','.join(at)} --dpi-desync-fooling=badsum"
    ).sent(encode(tcp(payload)), 0.0)
    arrived = bytearray(len(payload))
    for packet in packets:
        segment = parse(packet)
        assert segment is not None
        assert segment.tcp is not None
        if packet == encode(segment):  # otherwise its checksum is wrong
            begin = segment.tcp.sequence - 100_001
            arrived[begin : begin + len(segment.payload)] = segment.payload
        assert not checksum(packet[:20])
    assert bytes(arrived) == payload


def test_the_same_draws_make_the_same_packets() -> None:
    command = f"{FAKE} --dpi-desync-fake-stun=stun.bin --dpi-desync-fooling=md5sig"
    assert desync(command).sent(encode(udp()), 0.0) == desync(command).sent(encode(udp()), 0.0)
    assert nothing("any") is None
