"""Splits ClientHellos in various ways, and states what a middlebox must reassemble to read each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from testbed.censor.facts import Part, Reading
from testbed.censor.opening import Opening
from testbed.tools.calibration.openings import ALPN, NAME
from testbed.transport import hello


class Cut(NamedTuple):
    """One way to split the ClientHello of an opening into payloads."""

    how: str
    payloads: Sequence[bytes]
    parts: frozenset[Part] = frozenset()
    """What a middlebox must reassemble."""
    is_for: Callable[[Reading], bool] = lambda reading: True
    """A further condition on a middlebox that reassembles these parts."""

    def is_read(self, reading: Reading) -> bool:
        """Return whether a middlebox with this reading finds the ClientHello."""
        return self.parts <= reading.reassembles and self.is_for(reading)


def cuts(opening: Opening) -> list[Cut]:
    """Return the ways to split an opening's ClientHello; empty if the opening has none."""
    make = _BY_OPENING.get(opening.name)
    values = opening.values
    return list(make(values.get("sni", NAME), values.get("alpn", ALPN))) if make else []


def _of_tls(sni: str, alpn: str) -> Iterator[Cut]:
    return _cuts_of_stream(hello.handshake(sni, alpn))


def _of_tls12(sni: str, alpn: str) -> Iterator[Cut]:
    return _cuts_of_stream(hello.handshake(sni, alpn, tls13=False))


def _cuts_of_stream(message: bytes) -> Iterator[Cut]:
    whole = hello.tls_record(message)
    segments, records = _parts("tcp-segments"), _parts("tls-records")
    yield Cut("in two segments", [part for _, part in hello.cut(whole, 2)], segments)
    yield Cut("with a first segment of one byte", [whole[:1], whole[1:]], segments)
    two = [hello.tls_record(part) for _, part in hello.cut(message, 2)]
    yield Cut("in two records", [b"".join(two)], records)
    yield Cut("in two records, each in a segment", two, segments | records)


def _of_quic(sni: str, alpn: str) -> Iterator[Cut]:
    message = hello.handshake(sni, alpn)
    whole = hello.crypto_frame(0, message)
    frames = [hello.crypto_frame(*part) for part in hello.cut(message, 2)]
    joined, both = _parts("quic-frames"), _parts("quic-frames", "quic-datagrams")
    yield Cut("in two CRYPTO frames", [hello.quic_initial(b"".join(frames))], joined)
    yield Cut("in two datagrams", [hello.quic_initial(frame) for frame in frames], both)
    yield Cut(
        "behind PING and padding",
        [hello.quic_initial(b"\x01" + bytes(156) + whole)],
        is_for=lambda reading: not reading.quic_first_frame,
    )
    yield Cut(
        "in a CRYPTO frame that states a length of 0",
        [hello.quic_initial(hello.crypto_frame(0, b"") + message)],
        is_for=lambda reading: reading.quic_first_frame,
    )


def _of_dtls(sni: str, alpn: str) -> Iterator[Cut]:
    two = hello.dtls_fragments(sni, alpn, 2)
    yield Cut("in two fragments", two, _parts("dtls-fragments"))
    yield Cut("in two fragments of one datagram", [b"".join(two)], _parts("dtls-fragments"))


def _parts(*parts: Part) -> frozenset[Part]:
    return frozenset(parts)


_BY_OPENING: Mapping[str, Callable[[str, str], Iterator[Cut]]] = {
    "TLS 1.3": _of_tls,
    "TLS 1.2": _of_tls12,
    "QUIC v1": _of_quic,
    "DTLS": _of_dtls,
}
