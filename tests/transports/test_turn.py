"""TURN's client: its messages against the RFCs' vectors, and itself against the real coturn."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from testbed.lab.nodes.host import tls_of
from testbed.run.certificate import write_certificates
from testbed.transport import stun_messages as stun
from testbed.transport.interface import Address, ServerInfo, TransportError
from testbed.transport.loopback import LoopbackHost
from testbed.transport.turn_client import frame_unit, take_unit
from transports import turn

LONG_TERM = bytes.fromhex(
    "00010060 2112a442 78ad3433 c6ad72c0 29da412e"
    "00060012 e3839ee3 8388e383 aae38383 e382afe3 82b90000"
    "0015001c 662f2f34 39396b39 35346436 4f4c3334 6f4c3946 53547679 36347341"
    "0014000b 6578616d 706c652e 6f726700"
    "00080014 f6702465 6dd64a3e 02b8e071 2e85c9a2 8ca89666"
)
"""RFC 5769, 2.4: a request with long-term authentication."""

ATTRIBUTES = st.lists(
    st.tuples(
        st.integers(0, 0xFFFF).filter(lambda kind: kind != stun.MESSAGE_INTEGRITY),
        st.binary(max_size=40),
    ),
    max_size=5,
).map(tuple)
MESSAGES = st.builds(
    stun.Message, st.integers(0, 0x3FFF), st.binary(min_size=12, max_size=12), ATTRIBUTES
)
CHANNEL_DATA = st.builds(
    lambda number, value: number.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value,
    st.integers(0x4000, 0x4FFF),
    st.binary(max_size=60),
)


def test_a_message_of_the_rfc_is_read_checked_and_written_again() -> None:
    message = stun.decode(LONG_TERM)
    user = message.attribute(stun.USERNAME).decode()
    assert (user, message.attribute(stun.REALM)) == ("マトリックス", b"example.org")
    key = stun.long_term_key(user, "example.org", "TheMatrIX")
    assert stun.is_signed(LONG_TERM, key)
    assert not stun.is_signed(LONG_TERM, stun.long_term_key(user, "example.org", "another"))
    assert stun.encode(message, key) == LONG_TERM


FINGERPRINTED = bytes.fromhex(
    "00010058 2112a442 b7e7a701 bc34d686 fa87dfae"
    "80220010 5354554e 20746573 7420636c 69656e74"
    "00240004 6e0001ff 80290008 932ff9b1 51263b36"
    "00060009 6576746a 3a683676 59202020"
    "00080014 9aeaa70c bfd8cb56 781ef2b5 b2d3f249 c1b571a2"
    "80280004 e57a3bcf"
)
"""RFC 5769, 2.1: a request with a fingerprint."""


def test_a_whole_message_has_right_lengths_and_a_right_fingerprint_at_its_end() -> None:
    assert stun.is_message(FINGERPRINTED)
    assert stun.is_message(LONG_TERM)
    transaction, checksum = range(8, 20), range(len(FINGERPRINTED) - 4, len(FINGERPRINTED))
    for at in (*transaction, *checksum):
        changed = bytearray(FINGERPRINTED)
        changed[at] ^= 1
        assert not stun.is_message(bytes(changed))
    assert not any(stun.is_message(FINGERPRINTED[:end]) for end in range(len(FINGERPRINTED)))
    more = (stun.FINGERPRINT, stun.fingerprint(FINGERPRINTED[:20])), (stun.USERNAME, b"last")
    assert not stun.is_message(stun.build(stun.BINDING, bytes(12), *more))


def test_a_datagram_that_begins_like_a_message_has_a_type() -> None:
    assert stun.type_of(FINGERPRINTED + b"more") == stun.BINDING
    assert stun.transaction_of(FINGERPRINTED).hex() == "b7e7a701bc34d686fa87dfae"
    assert stun.attribute_of(FINGERPRINTED, stun.USERNAME) == b"evtj:h6vY"
    assert stun.attribute_of(FINGERPRINTED, stun.NONCE) is None
    for other in (b"", FINGERPRINTED[:19], FINGERPRINTED[:-1], bytes(40)):
        assert stun.type_of(other) is None


def test_an_address_is_xored_as_in_the_rfcs_response() -> None:
    # RFC 5769, 2.2: 192.0.2.1 port 32853
    assert stun.xor_address(Address("192.0.2.1", 32853)).hex() == "0001a147e112a643"


@given(MESSAGES, st.binary(max_size=20))
def test_what_is_written_is_read_again(message: stun.Message, key: bytes) -> None:
    written = stun.encode(message, key)
    assert stun.decode(written) == message
    assert stun.is_signed(written, key) == bool(key)


@given(MESSAGES, st.data())
def test_a_changed_bit_is_no_longer_signed(message: stun.Message, data: st.DataObject) -> None:
    written = bytearray(stun.encode(message, b"key"))
    place = data.draw(st.integers(0, 8 * len(written) - 1))
    written[place // 8] ^= 1 << place % 8
    with suppress(ValueError):
        stun.decode(bytes(written))
        assert not stun.is_signed(bytes(written), b"key")


@given(st.binary(max_size=80))
def test_whatever_comes_is_a_message_or_a_value_error(datagram: bytes) -> None:
    with suppress(ValueError):
        assert len(stun.decode(datagram).transaction) == 12


@given(st.lists(st.one_of(MESSAGES.map(stun.encode), CHANNEL_DATA), max_size=6), st.data())
def test_a_stream_is_cut_into_what_was_put_in(units: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(map(frame_unit, units))
    taken, unparsed = [], bytearray()
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        unparsed += stream[:size]
        stream = stream[size:]
        while (unit := take_unit(unparsed)) is not None:
            taken.append(unit)
    assert taken == units
    assert not unparsed


def test_a_stream_of_something_else_is_broken() -> None:
    with pytest.raises(trio.BrokenResourceError, match="something other than TURN"):
        take_unit(bytearray(b"\xffHTTP"))


def with_host(folder: Path, use: Callable[[LoopbackHost], Awaitable[None]]) -> None:
    write_certificates(folder)

    async def main() -> None:
        with trio.fail_after(20):
            async with LoopbackHost(state_dir=folder, tls=tls_of(folder)) as host:
                await use(host)

    trio.run(main)


@pytest.mark.parametrize("over", ["udp", "tcp", "tls"])
def test_coturn_refuses_with_its_reason(tmp_path: Path, over: str) -> None:
    transport = turn.Transport(over)  # type: ignore[arg-type]
    if any(program.find() is None for program in transport.programs):
        pytest.skip("not installed: coturn")

    async def use(host: LoopbackHost) -> None:
        listen = Address(host.address, host.free_port())
        server = await transport.serve(host, listen, Address(host.address, 9))
        with pytest.raises(TransportError, match=r"refused: 403 Forbidden IP"):
            await transport.connect(host, server)  # it relays to no loopback address
        stranger = replace(server, args={**server.args, "password": "guessed"})
        with pytest.raises(TransportError, match=r"refused: 401 Unauthorized"):
            await transport.connect(host, stranger)

    with_host(tmp_path, use)


def test_a_server_that_is_no_turn_server_is_said_to_be_none(tmp_path: Path) -> None:
    async def answer(stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await stream.aclose()

    async def use(host: LoopbackHost) -> None:
        server = await host.serve_tcp(0, answer)
        args = {"password": "", "forward": str(server)}
        for over, said in (
            ("tcp", "closed the stream"),
            ("tls", "the TLS handshake failed: .*WRONG_VER"),
        ):
            with pytest.raises(TransportError, match=said):
                await turn.Transport(over).connect(host, ServerInfo(server, args))  # type: ignore[arg-type]

    with_host(tmp_path, use)
