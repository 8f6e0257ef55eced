"""SOCKS as a client speaks it: bytes on the wire, every reply, any fragmentation, no over-read."""

from collections.abc import Iterator, Mapping

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from testbed.transport.interface import Address
from testbed.transport.pt import socks_client as socks
from testbed.transport.pt.exactly import EarlyEndError

TARGET = Address("192.0.2.7", 4443)
ARGS = {"cert": "a;b", "iat-mode": "0"}
ENCODED = rb"cert=a\;b;iat-mode=0"
BOUND4 = b"\x01\x00\x00\x00\x00\x00\x00"


class Script(trio.abc.Stream):
    """A proxy whose answers are written down beforehand, and given in small chunks."""

    def __init__(self, answers: bytes, chunk_sizes: Iterator[int] | None = None) -> None:
        self.unread = bytearray(answers)
        self.sent = b""
        self._chunk_sizes = chunk_sizes

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += data

    async def wait_send_all_might_not_block(self) -> None: ...

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        size = next(self._chunk_sizes, 1) if self._chunk_sizes else len(self.unread)
        chunk = bytes(self.unread[: min(size, max_bytes or size)])
        del self.unread[: len(chunk)]
        return chunk

    async def aclose(self) -> None: ...


def talk(
    script: Script, version: int, target: Address = TARGET, args: Mapping[str, str] = ARGS
) -> bytes:
    trio.run(socks.connect, script, version, target, args)
    return script.sent


def test_socks5_sends_arguments_as_credentials() -> None:
    script = Script(b"\x05\x02" + b"\x01\x00" + b"\x05\x00\x00" + BOUND4)
    assert talk(script, 5) == (
        b"\x05\x01\x02"
        + bytes((1, len(ENCODED), *ENCODED, 1, 0))
        + b"\x05\x01\x00\x01\xc0\x00\x02\x07\x11\x5b"
    )


def test_socks5_continues_long_arguments_in_the_password() -> None:
    script = Script(b"\x05\x02" + b"\x01\x00" + b"\x05\x00\x00" + BOUND4)
    sent = talk(script, 5, args={"k": "v" * 300})
    assert sent[3:5] == b"\x01\xff"
    assert sent[5 + 255] == 302 - 255
    assert sent[5:260] + sent[261:308] == b"k=" + b"v" * 300


def test_socks5_without_arguments_needs_no_authentication() -> None:
    script = Script(b"\x05\x00" + b"\x05\x00\x00" + BOUND4)
    assert talk(script, 5, args={}) == b"\x05\x01\x00" + b"\x05\x01\x00\x01\xc0\x00\x02\x07\x11\x5b"


@pytest.mark.parametrize(
    ("host", "encoded"),
    [
        ("2001:db8::1", b"\x04\x20\x01\x0d\xb8" + bytes(11) + b"\x01"),
        ("bridge.example", b"\x03\x0ebridge.example"),
    ],
)
def test_socks5_targets_may_be_ipv6_addresses_or_names(host: str, encoded: bytes) -> None:
    script = Script(b"\x05\x00" + b"\x05\x00\x00" + BOUND4)
    sent = talk(script, 5, Address(host, 80), {})
    assert sent == b"\x05\x01\x00" + b"\x05\x01\x00" + encoded + b"\x00\x50"


def test_socks4_sends_arguments_as_the_userid() -> None:
    script = Script(b"\x00\x5a" + bytes(6))
    assert talk(script, 4) == b"\x04\x01\x11\x5b\xc0\x00\x02\x07" + ENCODED + b"\0"


def test_socks4a_sends_a_name() -> None:
    script = Script(b"\x00\x5a" + bytes(6))
    sent = talk(script, 4, Address("bridge.example", 80), {})
    assert sent == b"\x04\x01\x00\x50\x00\x00\x00\x01\x00bridge.example\x00"


def test_socks4_refuses_an_ipv6_target() -> None:
    with pytest.raises(socks.SocksError, match="IPv6"):
        talk(Script(b""), 4, Address("::1", 80))


@pytest.mark.parametrize("code", [*range(1, 9), 0x42])
def test_the_error_names_every_socks5_reply(code: int) -> None:
    with pytest.raises(socks.SocksError) as caught:
        talk(Script(b"\x05\x02\x01\x00" + bytes((5, code, 0)) + BOUND4), 5)
    named = socks.SOCKS5_REPLIES.get(code, "unassigned reply")
    assert str(caught.value) == f"{named} (reply {code:#04x})"


@pytest.mark.parametrize("code", [0x5B, 0x5C, 0x5D, 0x42])
def test_the_error_names_every_socks4_reply(code: int) -> None:
    with pytest.raises(socks.SocksError) as caught:
        talk(Script(bytes((0, code)) + bytes(6)), 4)
    named = socks.SOCKS4_REPLIES.get(code, "unassigned reply")
    assert str(caught.value) == f"{named} (reply {code:#04x})"


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (b"\x05\xff", r"does not accept arguments .* no acceptable methods \(0xff\)"),
        (b"\x05\x00", r"does not accept arguments .* another method \(0x00\)"),
        (b"HTTP/1.1 400", "not speak SOCKS: the method selection begins with 0x48"),
        (b"\x05\x02\x01\x01", "rejects the arguments"),
        (b"\x05\x02\x05\x00", "not speak SOCKS: the answer to the arguments"),
        (b"\x05\x02\x01\x00\x04\x00\x00" + BOUND4, "not speak SOCKS: the reply"),
        (b"\x05\x02\x01\x00\x05\x00\x00\x09", "unknown type 0x09"),
    ],
)
def test_a_proxy_that_violates_socks5_is_an_error(answers: bytes, message: str) -> None:
    with pytest.raises(socks.SocksError, match=message):
        talk(Script(answers), 5)


@pytest.mark.parametrize("length", range(len(b"\x05\x02\x01\x00\x05\x00\x00" + BOUND4)))
def test_a_proxy_may_close_the_stream_at_any_byte(length: int) -> None:
    answers = b"\x05\x02\x01\x00\x05\x00\x00" + BOUND4
    with pytest.raises(EarlyEndError, match="was closed after"):
        talk(Script(answers[:length]), 5)


def test_arguments_that_are_too_long_never_reach_the_proxy() -> None:
    script = Script(b"")
    with pytest.raises(ValueError, match="at most 510"):
        talk(script, 5, args={"k": "v" * 600})
    assert script.sent == b""


@given(
    bound=st.sampled_from([BOUND4, b"\x04" + bytes(18), b"\x03\x05abcde\x00\x00", b"\x03\x00\0\0"]),
    payload=st.binary(max_size=20),
    chunk_sizes=st.lists(st.integers(1, 9)),
)
def test_the_connections_own_bytes_are_not_read(
    bound: bytes, payload: bytes, chunk_sizes: list[int]
) -> None:
    answers = b"\x05\x02\x01\x00\x05\x00\x00" + bound + payload
    script = Script(answers, iter(chunk_sizes))
    talk(script, 5)
    assert script.unread == payload


@given(payload=st.binary(max_size=20), chunk_sizes=st.lists(st.integers(1, 9)))
def test_socks4_does_not_read_the_connections_own_bytes(
    payload: bytes, chunk_sizes: list[int]
) -> None:
    script = Script(b"\x00\x5a" + bytes(6) + payload, iter(chunk_sizes))
    talk(script, 4)
    assert script.unread == payload
