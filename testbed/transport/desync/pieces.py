"""Cut a TCP payload into pieces, in the orders of the tools (zapret, docs/readme.en.md).

- In order, or the last first. The server puts them together by their sequence numbers.
- `faked = "pieces"`: one cut; each piece has a fake of its length before and after it.
- `faked = "host"`: the name of the server has a fake before and after it, and the rest is as it is.
- An overlap: bytes that precede a piece and overlap what comes before it in the stream. In order,
  they precede the first piece, where the server has had its data already. Reversed, they precede
  the second piece, and the first, which arrives last, overwrites them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import NamedTuple

from testbed.transport.desync.fakes import host_name, repeated
from testbed.transport.desync.recognised import Recognised, position
from testbed.transport.desync.strategy import Pieces
from testbed.transport.internet import PSH, Segment


class Piece(NamedTuple):
    """A segment with a part of a payload, or with something else in its place."""

    segment: Segment
    is_fake: bool = False


def pieces_of(
    pieces: Pieces, segment: Segment, found: Recognised, fake: bytes, rng: Random
) -> Sequence[Piece]:
    """Return the segments that are sent instead of one; empty if it cannot be cut there.

    `fake` is the payload of which parts leave in the place of late pieces.
    """
    if pieces.faked == "host":
        return _around_host(pieces, segment, found, rng)
    places = [position(marker, segment.payload, found) for marker in pieces.at]
    cuts = sorted({place for place in places if place is not None})
    if pieces.faked:
        # One cut: a named place if there is one, else an offset, else the first byte.
        named = [place for place, at in zip(places, pieces.at, strict=True) if place and at.place]
        cuts = [*named, *(place for place in places if place), 1][:1]
    edges = [0, *cuts, len(segment.payload)]
    parts = [_part(segment, *between) for between in pairwise(edges) if between[0] < between[1]]
    if len(parts) < 2:
        return ()
    if pieces.faked:
        return _faked(parts, pieces)
    _overlap(parts, pieces, segment, found)
    if pieces.late:
        return _with_late(parts, pieces, fake)
    if pieces.is_reversed:
        parts.reverse()
    return [Piece(part) for part in parts]


def _with_late(parts: Sequence[Segment], pieces: Pieces, fake: bytes) -> Sequence[Piece]:
    made = []
    at = 0
    for number, part in enumerate(parts):
        size = len(part.payload)
        if number in pieces.stood_in:
            content = fake[at : at + size].ljust(size, b"\0")
            made.append(Piece(replace(part, payload=content), is_fake=True))
        elif number not in pieces.late:
            made.append(Piece(part))
        at += size
    return made + [Piece(part) for number, part in enumerate(parts) if number in pieces.late]


def _part(segment: Segment, begin: int, end: int) -> Segment:
    assert segment.tcp is not None
    payload = segment.payload[begin:end]
    flags = segment.tcp.flags if end == len(segment.payload) else segment.tcp.flags & ~PSH
    tcp = segment.tcp._replace(sequence=segment.tcp.sequence + begin, flags=flags)
    return replace(segment, payload=payload, tcp=tcp)


def _faked(parts: Sequence[Segment], pieces: Pieces) -> Sequence[Piece]:
    made = []
    for part in reversed(parts) if pieces.is_reversed else parts:
        fake = Piece(replace(part, payload=repeated(pieces.pattern, len(part.payload))), True)
        made += [fake, Piece(part), fake]
    return made


def _overlap(parts: list[Segment], pieces: Pieces, segment: Segment, found: Recognised) -> None:
    """Put an overlap before the first piece, or before the second if they are sent in reverse."""
    if pieces.overlap is None:
        return
    number = 1 if pieces.is_reversed else 0
    size = (
        position(pieces.overlap, segment.payload, found)
        if pieces.overlap.place or pieces.overlap.offset < 0
        else pieces.overlap.offset
    )
    # In reverse the first piece must cover the overlap, or it would stay in the stream.
    if not size or (pieces.is_reversed and size >= len(parts[0].payload)):
        return
    part = parts[number]
    assert part.tcp is not None
    parts[number] = replace(
        part,
        payload=repeated(pieces.pattern, size) + part.payload,
        tcp=part.tcp._replace(sequence=part.tcp.sequence - size),
    )


def _around_host(
    pieces: Pieces, segment: Segment, found: Recognised, rng: Random
) -> Sequence[Piece]:
    if found.named is None:
        return ()
    at, end = found.named.at, found.named.at + len(found.named.name)
    parts = [
        _part(segment, begin, until)
        for begin, until in ((0, at), (at, end), (end, len(segment.payload)))
    ]
    name = host_name(pieces.fake_host, end - at, rng).encode()
    fake = Piece(replace(parts[1], payload=name), True)
    made = [Piece(parts[0]), fake, Piece(parts[1]), fake, Piece(parts[2])]
    return [piece for piece in made if piece.segment.payload]
