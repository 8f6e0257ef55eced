"""A damaged capture is answered by a table or by one sentence, in bounded memory."""

from __future__ import annotations

import resource
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import pytest

from testbed.censor.actions.drop import Drop
from testbed.tools.recognition.capture_file import Capture
from tests.command import Ended, command
from tests.fitting.dumps import internals_dump, rtcstats_dump
from tests.fitting.simulated import make_call, profile_of
from tests.recognition.files import RAW, pcap, pcapng

MOST_MORE_MB = 250
"""How much more memory damaged captures of some 50 kB may need than whole ones."""
HEADER_BYTES, RECORD_BYTES = 24, 16
"""Of a pcap file, and of each packet in it."""


def whole_files(folder: Path) -> list[bytes]:
    """Return captures in both formats, and dumps of a browser's counters."""
    near, _ = make_call(profile_of(Drop(0.2)), seed=2, duration_s=3).write(folder)
    with Capture(near) as capture:
        frames = [(1.7e9 + each.at, each.data) for each in capture]
    return [
        pcap(frames, link_type=RAW),
        pcap(frames, link_type=RAW, order=">", nano=True),
        pcapng(frames, link_type=RAW),
        internals_dump().encode(),
        rtcstats_dump().encode(),
    ]


def _flipped(data: bytearray, rng: Random) -> None:
    for _ in range(rng.choice((1, 3, 30, 300))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _cut(data: bytearray, rng: Random) -> None:
    del data[rng.randrange(len(data)) :]


def _torn(data: bytearray, rng: Random) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.randrange(1, 400)]


def _filled(data: bytearray, rng: Random) -> None:
    at = rng.randrange(len(data))
    data[at:at] = rng.randbytes(rng.randrange(1, 400))


def _repeated(data: bytearray, rng: Random) -> None:
    at, size = rng.randrange(len(data)), rng.randrange(1, 5000)
    data[at:at] = data[at : at + size] * rng.randrange(1, 5)


def _extreme(data: bytearray, rng: Random) -> None:
    """Set a number at the beginning of the file, or of a packet, to an extreme one."""
    at = rng.choice((rng.randrange(HEADER_BYTES), HEADER_BYTES + rng.randrange(RECORD_BYTES + 60)))
    data[at : at + 4] = rng.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"))


def _shuffled(data: bytearray, rng: Random) -> None:
    blocks = [data[at : at + 100] for at in range(0, len(data), 100)]
    rng.shuffle(blocks)
    data[:] = b"".join(blocks)


WAYS: Sequence[Callable[[bytearray, Random], None]] = (
    *(_flipped, _cut, _torn, _filled, _repeated, _extreme, _shuffled),
)


def mutated(whole: bytes, rng: Random) -> bytes:
    """Return a file that is damaged in one to three ways."""
    data = bytearray(whole)
    for _ in range(rng.randint(1, 3)):
        if data:
            rng.choice(WAYS)(data, rng)
    return bytes(data)


def is_answered(ended: Ended) -> bool:
    """Return whether a fit ended with a result, or with one sentence and nothing else."""
    if ended.status == 0:
        return bool(ended.out.strip()) and ended.err == ""
    sentence, newline, rest = ended.err.partition("\n")
    is_one = (newline, rest) == ("\n", "") and sentence.isprintable()
    return ended.status == 2 and ended.out == "" and is_one and sentence.startswith("error: ")


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def tried(count: int, seed: int, folder: Path) -> list[Ended]:
    """Fit damaged files, every eighth with a page and a profile; return what was not answered."""
    rng = Random(f"mutated {seed}")
    whole = whole_files(folder)
    path, page, profile = (folder / name for name in ("a.pcap", "a.html", "a.toml"))
    wrong = []
    for number in range(count):
        path.write_bytes(mutated(whole[number % len(whole)], rng))
        more = ["--page", str(page), "--out", str(profile)] if number % 8 == 0 else []
        ended = command("fit", str(path), *more)
        if not is_answered(ended):
            (folder / f"wrong-{number}").write_bytes(path.read_bytes())
            wrong.append(ended)
    return wrong


def test_damaged_captures_are_answered_by_a_result_or_one_sentence(tmp_path: Path) -> None:
    assert tried(20, 1, tmp_path) == []


@pytest.mark.slow
def test_a_thousand_damaged_captures_are_answered_in_bounded_memory(tmp_path: Path) -> None:
    tried(16, 2, tmp_path)
    before_mb = peak_mb()
    assert tried(1000, 3, tmp_path) == []
    assert peak_mb() - before_mb < MOST_MORE_MB
