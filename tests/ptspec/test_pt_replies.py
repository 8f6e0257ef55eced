"""What programs say: every reply line of pt-spec, real transcripts, and any bytes at all."""

import contextlib
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.transport.interface import Address
from testbed.transport.pt.replies import (
    MAX_LINE_BYTES,
    ClientMethod,
    Done,
    LaunchError,
    LineSplitter,
    MalformedReplyError,
    MethodError,
    Negotiation,
    NegotiationError,
    Remark,
    Reply,
    ServerMethod,
    Version,
    parse_quoted_values,
    parse_reply,
)


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("VERSION 1", Version("1")),
        ("VERSION-ERROR no-version", LaunchError("VERSION-ERROR", "no-version")),
        ("ENV-ERROR No TOR_PT_X", LaunchError("ENV-ERROR", "No TOR_PT_X")),
        ("PROXY DONE", Done("PROXY")),
        ("PROXY-ERROR SOCKS 4 unsupported", LaunchError("PROXY-ERROR", "SOCKS 4 unsupported")),
        (
            "CMETHOD trebuchet socks5 127.0.0.1:19999",
            ClientMethod("trebuchet", 5, Address("127.0.0.1", 19999)),
        ),
        ("CMETHOD t socks4 [::1]:9", ClientMethod("t", 4, Address("::1", 9))),
        ("CMETHOD t socks5 127.0.0.1:9 FUTURE=x", ClientMethod("t", 5, Address("127.0.0.1", 9))),
        ("CMETHOD-ERROR t no rocks left", MethodError("CMETHOD-ERROR", "t", "no rocks left")),
        ("CMETHODS DONE", Done("CMETHODS")),
        ("SMETHOD t 198.51.100.1:1999", ServerMethod("t", Address("198.51.100.1", 1999), {})),
        (
            r"SMETHOD rot_by_N 198.51.100.1:2323 FUTURE ARGS:N=13,x=a\,b\=c",
            ServerMethod("rot_by_N", Address("198.51.100.1", 2323), {"N": "13", "x": "a,b=c"}),
        ),
        ("SMETHOD-ERROR t no cows", MethodError("SMETHOD-ERROR", "t", "no cows")),
        ("SMETHODS DONE", Done("SMETHODS")),
        (
            'LOG SEVERITY=debug MESSAGE="Connected to bridge A"',
            Remark("LOG", {"SEVERITY": "debug", "MESSAGE": "Connected to bridge A"}),
        ),
        (
            "STATUS TRANSPORT=obfs4 ADDRESS=198.51.100.123:1234 CONNECT=Success",
            Remark(
                "STATUS",
                {"TRANSPORT": "obfs4", "ADDRESS": "198.51.100.123:1234", "CONNECT": "Success"},
            ),
        ),
        ("FUTURE-KEYWORD whatever", None),
        ("2023/01/01 [ERROR]: not the protocol", None),
        ("", None),
        ("version 1", None),
    ],
)
def test_each_kind_of_line_is_parsed(line: str, reply: Reply | None) -> None:
    assert parse_reply(line) == reply


@pytest.mark.parametrize(
    "line",
    [
        "VERSION",
        "CMETHOD",
        "CMETHOD obfs4",
        "CMETHOD obfs4 socks6 127.0.0.1:1",
        "CMETHOD obfs4 socks5 localhost:1",
        "CMETHOD obfs4 socks5 127.0.0.1",
        "CMETHOD obfs4 socks5 127.0.0.1:0",
        "CMETHOD obfs4 socks5 127.0.0.1:65536",
        "CMETHOD obfs4 socks5 127.0.0.1:１",
        "CMETHOD obfs4 socks5 ::1:80",
        "CMETHOD ob-fs4 socks5 127.0.0.1:1",
        "CMETHODS",
        "CMETHODS DONE DONE",
        "SMETHODS done",
        "PROXY",
        "SMETHOD obfs4",
        "SMETHOD obfs4 127.0.0.1:1 ARGS:cert",
        "SMETHOD obfs4 127.0.0.1:1 ARGS:a=b\\",
        "CMETHOD-ERROR",
        "LOG SEVERITY",
        'LOG MESSAGE="open',
        'LOG MESSAGE="a"b',
        "STATUS =x",
    ],
)
def test_malformed_lines_are_quoted(line: str) -> None:
    with pytest.raises(MalformedReplyError) as caught:
        parse_reply(line)
    assert repr(line) in str(caught.value)


@given(
    st.sampled_from(["", "VERSION ", "CMETHOD ", "SMETHOD ", "LOG ", "STATUS ", "CMETHODS "]),
    st.text(max_size=60),
)
def test_any_line_is_either_parsed_or_refused(keyword: str, rest: str) -> None:
    with contextlib.suppress(MalformedReplyError):
        parse_reply(keyword + rest)


@given(st.dictionaries(st.from_regex(r"[A-Z_]+", fullmatch=True), st.text(), max_size=4))
def test_quoted_values_are_decoded_from_octal(values: dict[str, str]) -> None:
    values = {
        key: value.encode(errors="replace").decode() for key, value in values.items()
    }  # no surrogates
    octal = {
        key: "".join(f"\\{byte:03o}" for byte in value.encode()) for key, value in values.items()
    }
    text = " ".join(f'{key}="{value}"' for key, value in octal.items())
    assert parse_quoted_values(text) == values


def test_quoted_values_are_c_strings() -> None:
    assert parse_quoted_values(r'A="say \"hi\"\n\ttab\\ \101\0" B=plain  C="" D=') == {
        "A": 'say "hi"\n\ttab\\ A\0',
        "B": "plain",
        "C": "",
        "D": "",
    }


@given(st.lists(st.binary(max_size=50).filter(lambda line: b"\n" not in line)), st.data())
def test_lines_come_out_whole_however_they_are_cut(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    splitter = LineSplitter()
    heard = [
        line
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
        for line in splitter.feed(stream[start:end])
    ]
    assert heard == [line.removesuffix(b"\r").decode(errors="backslashreplace") for line in lines]
    assert splitter.finish() == ""


def test_a_line_without_an_end_is_cut() -> None:
    splitter = LineSplitter()
    for _ in range(10):
        assert splitter.feed(b"x" * MAX_LINE_BYTES) == []
    assert splitter.feed(b"tail\nnext\n") == ["x" * MAX_LINE_BYTES, "next"]


# What obfs4proxy 0.0.14 said, with the exit status; it is asked for obfs4 alone unless stated.
CLIENT = "VERSION 1\nCMETHOD obfs4 socks5 127.0.0.1:35869\nCMETHODS DONE\n"
CLIENT_WITH_PROXY = "VERSION 1\nPROXY DONE\nCMETHOD obfs4 socks5 127.0.0.1:35869\nCMETHODS DONE\n"
CLIENT_TWO_NAMES = (
    "VERSION 1\nCMETHOD-ERROR nosuch no such transport is supported\n"
    "CMETHOD obfs4 socks5 127.0.0.1:37021\nCMETHODS DONE\n"
)
SERVER = (
    "VERSION 1\nSMETHOD obfs4 127.0.0.1:39787 ARGS:cert=Yd+GIPdjiL4r5YikEq0ktI6Hb3XMMPD0utfDeeOm"
    "mC4jl7IlhPEuE5DfofScvCR0gv8GCw,iat-mode=0\nSMETHODS DONE\n"
)
SILENT_ABOUT_IT = "VERSION 1\nSMETHODS DONE\n"


def hear(
    transcript: str,
    side: Literal["client", "server"],
    *,
    transport: str = "obfs4",
    proxy: bool = False,
) -> Negotiation:
    negotiation = Negotiation(transport, side=side, proxy=proxy)
    for line in LineSplitter().feed(transcript.encode()):
        if (reply := parse_reply(line)) is not None:
            negotiation.handle(reply)
    return negotiation


@pytest.mark.parametrize(
    ("transcript", "proxy", "port"),
    [(CLIENT, False, 35869), (CLIENT_WITH_PROXY, True, 35869), (CLIENT_TWO_NAMES, False, 37021)],
)
def test_the_output_of_a_real_client_is_understood(transcript: str, proxy: bool, port: int) -> None:
    negotiation = hear(transcript, "client", proxy=proxy)
    assert negotiation.done
    assert negotiation.method == ClientMethod("obfs4", 5, Address("127.0.0.1", port))


def test_the_output_of_a_real_server_is_understood() -> None:
    negotiation = hear(SERVER, "server")
    assert negotiation.done
    cert = "Yd+GIPdjiL4r5YikEq0ktI6Hb3XMMPD0utfDeeOmmC4jl7IlhPEuE5DfofScvCR0gv8GCw"
    args = {"cert": cert, "iat-mode": "0"}
    assert negotiation.method == ServerMethod("obfs4", Address("127.0.0.1", 39787), args)


@pytest.mark.parametrize(
    ("transcript", "side", "reason"),
    [
        ("VERSION-ERROR no-version\n", "client", "VERSION-ERROR: no-version"),
        (
            'VERSION 1\nPROXY-ERROR proxy URI has invalid host: not an IP string: "h.example"\n',
            "client",
            'PROXY-ERROR: proxy URI has invalid host: not an IP string: "h.example"',
        ),
        (
            "VERSION 1\nENV-ERROR need TOR_PT_ORPORT or TOR_PT_EXTENDED_SERVER_PORT\n",
            "server",
            "ENV-ERROR: need TOR_PT_ORPORT",
        ),
        (
            "VERSION 1\nENV-ERROR no TOR_PT_SERVER_BINDADDR environment variable\n",
            "server",
            "no TOR_PT_SERVER_BINDADDR",
        ),
        (
            "VERSION 1\nSMETHOD-ERROR obfs4 invalid iat-mode '9'\nSMETHODS DONE\n",
            "server",
            "SMETHOD-ERROR: invalid iat-mode '9'",
        ),
        (
            "VERSION 1\nSMETHOD-ERROR obfs4 listen tcp 192.0.2.1:4444: bind: cannot assign "
            "requested address\nSMETHODS DONE\n",
            "server",
            "cannot assign requested address",
        ),
        (
            "VERSION 1\nCMETHOD-ERROR obfs4 no such transport is supported\nCMETHODS DONE\n",
            "client",
            "CMETHOD-ERROR: no such transport is supported",
        ),
        (SILENT_ABOUT_IT, "server", "SMETHODS DONE without this transport: it has none"),
        (CLIENT.replace("CMETHOD obfs4", "CMETHOD other"), "client", "it offers other"),
        (SERVER.replace("SMETHOD obfs4", "SMETHOD other"), "server", "it offers other"),
        ("VERSION 2\n", "client", "version 2"),
        (CLIENT.removeprefix("VERSION 1\n"), "client", "never said VERSION"),
        ("ENV-ERROR\n", "client", "it gave no reason"),
    ],
)
def test_the_output_of_programs_that_fail_is_an_error_with_the_reason(
    transcript: str, side: Literal["client", "server"], reason: str
) -> None:
    with pytest.raises(NegotiationError) as caught:
        hear(transcript, side)
    assert reason in str(caught.value)


def test_a_proxy_that_is_never_confirmed_is_an_error() -> None:
    with pytest.raises(NegotiationError, match="PROXY DONE"):
        hear(CLIENT, "client", proxy=True)


@given(st.permutations([*CLIENT_TWO_NAMES.splitlines()[:-1], "FUTURE x", "PROXY DONE"]))
def test_lines_before_done_may_come_in_any_order(lines: list[str]) -> None:
    transcript = "".join(f"{line}\n" for line in [*lines, "CMETHODS DONE"])
    assert hear(transcript, "client", proxy=True).done


def test_a_server_method_is_no_client_method() -> None:
    assert not hear(SERVER, "client").done
    assert hear(SERVER, "client").method is None
