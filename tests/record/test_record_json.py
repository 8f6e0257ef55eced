"""What is kept of a run is read back as it was, and what is damaged is said in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed.experiment.cell import FRAMES_FILE, OtherTraffic, Said, Topology
from testbed.experiment.scenario import (
    any_censor_names,
    link_set_names,
    load_any_censor,
    load_links,
    load_messenger,
    messenger_names,
)
from testbed.record.cell_record import CellRecord, read_observation
from testbed.record.manifest import (
    Definitions,
    KernelBuild,
    Manifest,
    ScenarioTitle,
    SpeechSource,
    TransportDefinition,
)
from testbed.record.observation import DirectionRecord, Observation, write_observation
from testbed.record.results import CELL, MANIFEST, WALL, ResultsError, Run
from tests.records import manifest, record, write_run

FINITE = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | FINITE | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
QUICK = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SHORT = st.text(max_size=3)


def any_of(kind: Any) -> st.SearchStrategy[Any]:  # noqa: ANN401 - whatever a field may be
    """Return a strategy for values of a record's type: few of each, and no infinite number."""
    origin, inner = get_origin(kind), [any_of(each) for each in get_args(kind) if each is not ...]
    if origin is Literal:
        return st.sampled_from(get_args(kind))
    if origin in (Union, UnionType):
        return st.one_of(inner)
    if origin in (Mapping, dict):
        return st.dictionaries(SHORT, inner[1], max_size=2)
    if origin is tuple and ... not in get_args(kind):
        return st.tuples(*inner)
    if origin is not None:
        of = st.lists(inner[0], max_size=2)
        return of.map(tuple) if origin is tuple else of
    if kind in PLAIN:
        return PLAIN[kind]
    fields = get_type_hints(kind) if hasattr(kind, "__annotations__") else {}
    if not fields or issubclass(kind, Enum):
        return st.from_type(kind)
    return st.builds(kind, **{name: any_of(hint) for name, hint in fields.items()})


PLAIN = {float: FINITE, str: SHORT, type(None): st.none()}


def some(names: list[str], load: Callable[[str], Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return a strategy for some of what ships, by name."""
    chosen = st.sets(st.sampled_from(names), max_size=3)
    return chosen.map(lambda found: {name: load(name) for name in sorted(found)})


MANIFESTS = st.builds(
    Manifest,
    scenario=any_of(ScenarioTitle),
    kernel=any_of(KernelBuild),
    versions=any_of(Mapping[str, str]),
    inputs=any_of(Mapping[str, str]),
    definitions=st.builds(
        Definitions,
        duration_s=FINITE,
        said=any_of(Said),
        other_traffic=any_of(tuple[OtherTraffic, ...]),
        speech=any_of(SpeechSource),
        links=some(link_set_names(), load_links),
        topologies=any_of(Mapping[str, Topology]),
        messengers=some(messenger_names(), load_messenger),
        censors=some(any_censor_names(), load_any_censor),
        transports=st.dictionaries(
            SHORT,
            st.builds(
                TransportDefinition,
                source=SHORT,
                kind=SHORT,
                parameters=st.dictionaries(SHORT, JSON, max_size=2),
            ),
            max_size=2,
        ),
    ),
    cells=any_of(tuple[str, ...]),
)


@QUICK
@given(any_of(CellRecord))
def test_a_cell_s_record_is_read_back_as_it_was_written(one: CellRecord) -> None:
    text = one.to_json()
    assert CellRecord.from_json(text) == one
    assert CellRecord.from_json(text).to_json() == text


@QUICK
@given(MANIFESTS)
def test_a_manifest_is_read_back_as_it_was_written(about: Manifest) -> None:
    text = about.to_json()
    assert Manifest.from_json(text) == about
    assert Manifest.from_json(text).to_json() == text


@pytest.mark.parametrize("name", any_censor_names())
def test_every_censor_that_ships_is_read_back_from_a_manifest(name: str) -> None:
    about = manifest()
    with_censor = replace(
        about, definitions=replace(about.definitions, censors={name: load_any_censor(name)})
    )
    assert Manifest.from_json(with_censor.to_json()) == with_censor


@QUICK
@given(any_of(Observation))
def test_an_observation_is_read_back_to_whole_nanoseconds_and_without_its_frames(
    tmp_path_factory: pytest.TempPathFactory, seen: Observation
) -> None:
    path = tmp_path_factory.mktemp("observation") / "record.json"
    write_observation(seen, path)
    read = read_observation(path.read_bytes())
    assert read.virtual_s == pytest.approx(seen.virtual_s, abs=1e-9)
    for one, written in ((read.call.up, seen.call.up), (read.call.down, seen.call.down)):
        assert one == DirectionRecord(said_before=written.said_before)
    assert read.call.outcome == seen.call.outcome
    assert read.rules == seen.rules
    assert [one.kind for one in read.traffic] == [one.kind for one in seen.traffic]
    write_observation(read, path)
    assert read_observation(path.read_bytes()) == read


DAMAGED = {
    "an empty file": b"",
    "an empty object": b"{}",
    "a list": b"[]",
    "null": b"null",
    "not a number": b"NaN",
    "a text": b'"text"',
    "half of it": b'{"schema": 1, "messenger',
    "not UTF-8": b"\xff\xfe",
}


def without(key: str) -> Callable[[dict[str, Any]], None]:
    return lambda content: content.pop(key)


def changed(key: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda content: content.update({key: value})


def one_sentence(path: Path, read: Callable[[], object]) -> str:
    """Return what is said of a damaged file: one line, which names it or its cell."""
    with pytest.raises(ResultsError) as said:
        read()
    text = str(said.value)
    assert "\n" not in text
    assert str(path) in text
    return text


def damage(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("file", [CELL, WALL])
@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_cell_is_named_in_one_sentence(tmp_path: Path, file: str, content: bytes) -> None:
    [cell] = write_run(tmp_path / "run", [record()]).cells()
    (cell.folder / file).write_bytes(content)
    said = one_sentence(cell.folder, Run(tmp_path / "run").cells)
    assert "run its scenario again, which replaces it" in said


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (without("quality"), "quality"),
        (without("observation"), "observation"),
        (changed("duration_s", None), "duration_s"),
        (changed("seed", "one"), "seed"),
        (changed("measures", []), "measures"),
        (changed("schema", 99), "schema"),
        (changed("duration_s", float("nan")), ""),
        (changed("duration_s", float("inf")), ""),
    ],
)
def test_a_cell_s_wrong_key_is_named(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], key: str
) -> None:
    [cell] = write_run(tmp_path / "run", [record()]).cells()
    damage(cell.folder / CELL, change)
    assert f"{key}: " in one_sentence(cell.folder, Run(tmp_path / "run").cells)


def test_a_cell_without_its_cost_or_its_frames_is_named(tmp_path: Path) -> None:
    [cell] = write_run(tmp_path / "run", [record()]).cells()
    (cell.folder / FRAMES_FILE).unlink()
    run = Run(tmp_path / "run")
    one_sentence(cell.folder, lambda: run.frames(run.cells()[0]))
    (cell.folder / WALL).unlink()
    one_sentence(cell.folder, run.cells)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"direction,index\nup,0\n",
        b"direction,index,sent_ns,received_ns\nsideways,0,1,2\n",
        b"direction,index,sent_ns,received_ns\nup,0,soon,2\n",
        b"direction,index,sent_ns,received_ns\nup,7,1,2\n",
        b"\xff\xfe",
    ],
)
def test_damaged_frames_are_named_in_one_sentence(tmp_path: Path, content: bytes) -> None:
    run = write_run(tmp_path / "run", [record()])
    [cell] = run.cells()
    (cell.folder / FRAMES_FILE).write_bytes(content)
    one_sentence(cell.folder, lambda: run.frames(cell))


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_manifest_is_said_in_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = write_run(tmp_path / "run", [record()]).folder / MANIFEST
    path.write_bytes(content)
    assert "was not written by a run, or is damaged" in one_sentence(
        path, Run(tmp_path / "run").manifest
    )


@pytest.mark.parametrize(
    ("change", "key"), [(without("kernel"), "kernel"), (changed("schema", 99), "schema")]
)
def test_a_manifest_s_wrong_key_is_named(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], key: str
) -> None:
    path = write_run(tmp_path / "run", [record()]).folder / MANIFEST
    damage(path, change)
    assert f"{key}: " in one_sentence(path, Run(tmp_path / "run").manifest)


def test_equal_records_give_equal_bytes(tmp_path: Path) -> None:
    one, other = (write_run(tmp_path / name, [record(), record("obfs4")]) for name in "ab")
    assert one.digest() == other.digest()
    assert one.digest() != write_run(tmp_path / "c", [record(), record("obfs4", seed=2)]).digest()
