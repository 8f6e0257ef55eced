"""Read the traces that links follow, from files of mahimahi or from the models in a folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from testbed.censor.packet import Direction
from testbed.experiment.explanations import ScenarioError
from testbed.experiment.link import Link, Links, Override
from testbed.experiment.toml_files import read_input, read_toml, validated
from testbed.experiment.trace import Course, Trace, parse_trace
from testbed.experiment.trace_model import TraceModel

LARGEST_BYTES = 100_000_000
"""The largest trace that is read: an hour at 150 Mbit/s, or longer at less."""
_KEPT = 8


def courses_of(links: Iterable[Link], models: Path) -> dict[tuple[Trace, Direction], Course]:
    """Return when each traced direction of some links delivers packets.

    `models` is the folder with the models of traces.

    Raises:
        ScenarioError: A trace cannot be read, or has changed since its hash was taken.
    """
    found = {}
    for link in links:
        for direction in Direction:
            if (trace := link.direction(direction).trace) is not None:
                found[trace, direction] = _course(trace, direction, models)
    return found


def sealed(links: Links, models: Path) -> Links:
    """Return links whose traces have the hash of what was read, so that runs tell them apart.

    Raises:
        ScenarioError: A trace cannot be read, or a hash that it has already is a different one.
    """
    courses_of(links.all.values(), models)
    known = {name: _sealed(link, models) for name, link in links.all.items()}
    return links.with_all(known)


def _sealed(link: Link, models: Path) -> Link:
    up, down = (_known(link, own, models) for own in Direction)
    return replace(link, up=up, down=down, trace=None)


def _known(link: Link, direction: Direction, models: Path) -> Override | None:
    """Return what a direction has of its own, with its trace's hash."""
    own = link.up if direction is Direction.UP else link.down
    if (trace := link.direction(direction).trace) is None:
        return own
    known = replace(trace, sha256=_hash(_source(trace.file, direction, models)))
    return replace(own or Override(), trace=known)


def _course(trace: Trace, direction: Direction, models: Path) -> Course:
    source = _source(trace.file, direction, models)
    if trace.sha256 not in ("", found := _hash(source)):
        raise ScenarioError(
            f"{source}: its hash is {found}, but sha256 = {trace.sha256!r} was expected: restore "
            "the file, or leave the key out"
        )
    course = _read(source, direction, found)
    if trace.offset_s != "seed" and trace.offset_s * 1000 > course.length_ms:
        raise ScenarioError(
            f"{source}: offset_s = {trace.offset_s:g} is behind its end at "
            f"{course.length_ms / 1000:g} s; choose a smaller one"
        )
    return course


def _source(name: str, direction: Direction, models: Path) -> Path:
    """Return the file with a trace of this name for a direction."""
    tried = list(_places(name, direction, models))
    for path in tried:
        if path.is_file():
            return path
    listed = " and ".join(str(path) for path in tried)
    raise ScenarioError(f"there is no trace {name!r}; looked for {listed}")


def _places(name: str, direction: Direction, models: Path) -> Iterator[Path]:
    yield models / f"{name}.toml"
    yield Path(f"{name}.{direction.value}")
    yield Path(name)


def _hash(source: Path) -> str:
    try:
        return sha256(source.read_bytes()).hexdigest()
    except OSError as error:
        raise ScenarioError(f"{source}: {error.strerror}") from None


@lru_cache(_KEPT)
def _read(source: Path, direction: Direction, _hash: str) -> Course:
    """Read a trace, or generate it; again only if its hash is a different one."""
    if source.suffix == ".toml":
        return validated(source, read_toml(source), TraceModel).course(direction)
    try:
        return parse_trace(read_input(source, LARGEST_BYTES))
    except ValueError as error:
        raise ScenarioError(f"{source}: {error}") from None
