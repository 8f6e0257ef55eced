"""SIP on a stream is cut into messages, whose media goes to a relay, which joins two ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.call.sip import Latch, take_message, with_relay
from testbed.transport.interface import Address

RELAY = Address("10.2.3.2", 10000)
OFFER = b"""v=0\r
o=- 1306719256 1672944552 IN IP4 192.0.2.2\r
s=-\r
c=IN IP4 192.0.2.2\r
t=0 0\r
a=tool:baresip 1.0.0\r
m=audio 20008 RTP/SAVP 96 101\r
a=rtcp:20009 IN IP4 192.0.2.2\r
a=rtpmap:96 opus/48000/2\r
a=rtcp-mux\r
m=video 0 RTP/SAVP 97\r
"""


def sip(body: bytes, length: str = "Content-Length") -> bytes:
    head = b"INVITE sip:callee@127.0.0.1:5060 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:5070\r\n"
    return head + b"%s: %d\r\n\r\n" % (length.encode(), len(body)) + body


@given(
    st.lists(st.tuples(st.binary(max_size=60), st.sampled_from(["Content-Length", "l", "L "]))),
    st.data(),
)
def test_messages_come_whole_however_the_stream_is_cut(
    contents: list[tuple[bytes, str]], data: st.DataObject
) -> None:
    sent = [sip(body, length) for body, length in contents]
    stream = b"\r\n\r\n".join(sent)
    unparsed, taken = bytearray(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        unparsed += stream[:size]
        stream = stream[size:]
        while (message := take_message(unparsed)) is not None:
            taken.append(message)
    assert taken == sent


@pytest.mark.parametrize(
    "stream", [b"INVITE x SIP/2.0\r\n\r\n", b"x" * 70000, sip(b"").replace(b": 0", b": 99999")]
)
def test_what_has_no_end_is_an_error(stream: bytes) -> None:
    with pytest.raises(ValueError, match="SIP message"):
        take_message(bytearray(stream))


def test_media_is_sent_to_the_relay() -> None:
    told = with_relay(sip(OFFER), RELAY)
    assert take_message(bytearray(told)) == told
    body = told.partition(b"\r\n\r\n")[2]
    assert b"\r\nc=IN IP4 10.2.3.2\r\n" in body
    assert b"\r\nm=audio 10000 RTP/SAVP 96 101\r\n" in body
    assert b"\r\nm=video 0 RTP/SAVP 97\r\n" in body, "refused media stays refused"
    assert b"20009" not in body
    assert b"a=rtcp-mux" in body
    assert told.startswith(sip(OFFER).partition(b"Content-Length")[0])


def test_messages_without_media_stay_as_they_are() -> None:
    assert with_relay(sip(b""), RELAY) == sip(b"")
    assert with_relay(sip(b"signal=1\r\n"), RELAY) == sip(b"signal=1\r\n")


def test_a_relay_latches_to_the_first_two() -> None:
    one, other, third = (Address("10.0.0.1", port) for port in (1, 2, 3))
    relay = Latch()
    assert relay.on_datagram(b"a", one) is None
    assert relay.on_datagram(b"b", other) == (b"b", one)
    assert relay.on_datagram(b"c", one) == (b"c", other)
    assert relay.on_datagram(b"d", third) is None
