"""The native transports' codecs: what a lossy path takes from them, and what it does not."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.experiment.choosing import load_transport, transport_choice
from testbed.experiment.explanations import ScenarioError
from testbed.experiment.loading import make_transport, programs_of
from transports import duplicate, fec, hysteria2

DATAGRAMS = st.lists(st.binary(max_size=40), min_size=1, max_size=30)


@dataclass
class Wire(trio.abc.Channel[bytes]):
    """Keeps what is sent; gives what is put in `arriving`."""

    sent: list[bytes] = field(default_factory=list)
    arriving: list[bytes] = field(default_factory=list)

    async def send(self, value: bytes) -> None:
        self.sent.append(value)

    async def receive(self) -> bytes:
        if not self.arriving:
            raise trio.EndOfChannel
        return self.arriving.pop(0)

    async def aclose(self) -> None: ...


async def sent_by(channel: trio.abc.Channel[bytes], wire: Wire, datagrams: list[bytes]) -> None:
    for datagram in datagrams:
        await channel.send(datagram)
    wire.arriving = list(wire.sent)


@settings(deadline=None)
@given(DATAGRAMS, st.data())
def test_of_each_datagram_sent_twice_one_copy_may_be_lost(
    datagrams: list[bytes], data: st.DataObject
) -> None:
    async def main() -> None:
        wire = Wire()
        await sent_by(duplicate._Twice(wire), wire, datagrams)
        lost = data.draw(st.lists(st.booleans(), min_size=len(datagrams), max_size=len(datagrams)))
        for k in reversed(range(len(datagrams))):
            if lost[k]:
                del wire.arriving[2 * k + data.draw(st.integers(0, 1))]
        assert [datagram async for datagram in duplicate._Twice(wire)] == datagrams

    trio.run(main)


@settings(deadline=None)
@given(DATAGRAMS, st.integers(1, 6), st.data())
def test_of_each_group_one_packet_may_be_lost_and_the_order(
    datagrams: list[bytes], window: int, data: st.DataObject
) -> None:
    async def main() -> None:
        wire = Wire()
        await sent_by(fec._Protected(wire, window), wire, datagrams)
        groups = [wire.sent[k : k + window + 1] for k in range(0, len(wire.sent), window + 1)]
        wire.arriving = []
        for group in groups:
            if len(group) == window + 1:
                del group[data.draw(st.integers(0, window))]
            wire.arriving += data.draw(st.permutations(group))
        heard = [datagram async for datagram in fec._Protected(wire, window)]
        assert sorted(heard) == sorted(datagrams)

    trio.run(main)


@settings(deadline=None)
@given(st.permutations([1, 2, 3]), st.integers(2, 4))
def test_a_packet_that_comes_twice_or_late_is_given_once(order: list[int], window: int) -> None:
    async def main() -> None:
        wire = Wire()
        datagrams = [bytes([k]) for k in range(window)]
        await sent_by(fec._Protected(wire, window), wire, datagrams)
        wire.arriving = [*wire.sent[1:], *wire.sent, *(wire.sent[k % window] for k in order)]
        heard = [datagram async for datagram in fec._Protected(wire, window)]
        assert sorted(heard) == datagrams

    trio.run(main)


def test_a_wrapper_gets_the_transport_that_its_parameter_names() -> None:
    wrapped = fec.Transport(hysteria2.Transport(salamander=True), 3)
    for key in ("kind", "name"):
        entry = f'fec {{inner = {{{key} = "hysteria2", salamander = true}}, window = 3}}'
        choice = transport_choice(entry)
        made = make_transport(choice)
        assert made == load_transport(choice) == wrapped
        assert [program.name for program in programs_of(made)] == ["sing-box"]
        assert str(choice) == "fec {inner = hysteria2 {salamander = true}, window = 3}"
    assert load_transport(transport_choice("fec {inner = hysteria2, window = 4}")) == fec.Transport(
        hysteria2.Transport(), 4
    )


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("fec {inner = nosuch}", r"no transport 'nosuch'"),
        ("fec {inner = 7}", r"fec: inner: a transport's name, or a table"),
        ("fec {window = 4}", r"fec: .*missing .*'inner'"),
        ("fec {inner = direct, window = much}", r"fec: window: .*valid integer"),
        ("fec {inner}", r"'inner' is not of the form key = value"),
        ("fec {}", r"the braces are empty"),
        ("tuic {relay = pigeon}", r"tuic: relay: .*'native' or 'quic'"),
        ("./no/such/file.py", r"no transport ./no/such/file.py: there is no such file"),
    ],
)
def test_a_wrong_choice_of_a_transport_says_what_was_expected(entry: str, expected: str) -> None:
    with pytest.raises(ScenarioError, match=expected):
        load_transport(transport_choice(entry))
