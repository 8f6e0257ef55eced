"""Golden hashes: what is observed is what it was, and any difference is found and told."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
import trio
import typer
from hypothesis import given
from hypothesis import strategies as st

from testbed.call.engines import ENGINES
from testbed.cli import golden as golden_command
from testbed.experiment.explanations import ScenarioError
from testbed.guest.kernel.builder import Kernel
from testbed.record.observation import (
    CallRecord,
    ChatRecord,
    DirectionRecord,
    MiddleboxRecord,
    Observation,
    TransportRecord,
)
from testbed.run.provenance import lacking, programs
from testbed.tools import golden_hashes
from testbed.tools.golden_hashes import (
    Golden,
    Observed,
    golden_cells,
    golden_hash,
    golden_transports,
    laboratory,
    observe_cell,
    observed_in_cell,
    read_golden,
    write_golden,
)
from testbed.transport.interface import Program
from tests.golden import assert_golden

SLOW = pytest.mark.slow
times = st.lists(st.one_of(st.none(), st.integers(0, 10**12)), max_size=4)
observations = st.builds(
    Observed,
    sent_ns=st.lists(times, max_size=2),
    received=st.lists(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 99)), max_size=3)),
    set_up_ns=times,
    chat_ns=st.lists(times, max_size=3),
    events=st.lists(st.tuples(st.integers(0, 99), st.text(max_size=3), st.text(max_size=3))),
    arrivals_ns=times,
)


@pytest.mark.guest
@pytest.mark.parametrize(
    "engine",
    [pytest.param(name, marks=SLOW if each.is_slow else ()) for name, each in ENGINES.items()],
)
def test_what_is_observed_in_a_cell_is_golden(kernel: Kernel, tmp_path: Path, engine: str) -> None:
    cell = golden_cells()[engine]
    if lacks := lacking([cell]):
        pytest.skip(lacks)
    cpu = max(os.sched_getaffinity(0))
    observed = trio.run(observe_cell, kernel, cell, tmp_path / "job", cpu)
    assert all(observed.received), "nothing was heard"
    assert_golden("cell", engine, observed, laboratory(programs([cell]), kernel))


def test_all_engines_and_transports_have_a_golden_hash() -> None:
    hashes = read_golden().hashes
    assert set(hashes["cell"]) == set(ENGINES)
    assert set(hashes["transport"]) == set(golden_transports())
    assert len({*hashes["cell"].values(), *hashes["transport"].values()}) == len(ENGINES) + len(
        golden_transports()
    )


@given(observations, observations)
def test_equal_hashes_are_equal_observations(one: Observed, other: Observed) -> None:
    assert (golden_hash(one) == golden_hash(other)) == (one == other)


def test_a_nanosecond_and_an_event_make_another_hash() -> None:
    observed = Observed(((0, 20),), (((0, 30), (1, 50)),), events=((5, "a flow", "recognised"),))
    assert golden_hash(observed) == golden_hash(replace(observed))
    late = replace(observed, received=(((0, 30), (1, 51)),))
    other_event = replace(observed, events=((5, "a flow", "dropped"),))
    swapped = replace(observed, received=(((1, 50), (0, 30)),))
    assert len({golden_hash(each) for each in (observed, late, other_event, swapped)}) == 4


def test_the_canonical_form_is_fixed() -> None:
    """Whoever changes it makes all golden hashes worthless, and should know."""
    observed = Observed(((0, None),), (((0, 30),),), (1,), ((), (2,)), ((5, "a", "b"),), (7,))
    text = b'[[[0,null]],[[[0,30]]],[1],[[],[2]],[[5,"a","b"]],[7]]'
    assert golden_hash(observed) == hashlib.sha256(text).hexdigest()


def test_what_is_observed_in_a_record_is_what_it_says() -> None:
    seen = Observation(
        TransportRecord(0.5),
        CallRecord("no set-up", ended_s=30.0),
        ChatRecord("", 0.1, [1.0], [None]),
        [],
        {"middlebox": MiddleboxRecord(1, {}, [(0.25, "a flow", "recognised")])},
        31.0,
    )
    frames = {"up": DirectionRecord([0.02], [(0, 0.06)]), "down": DirectionRecord()}
    assert observed_in_cell(seen, frames) == Observed(
        sent_ns=[[20_000_000], []],
        received=[[(0, 60_000_000)], []],
        set_up_ns=[500_000_000, None, 30_000_000_000],
        chat_ns=[[100_000_000], [1_000_000_000], [None]],
        events=[(250_000_000, "a flow", "recognised")],
    )


def test_another_version_is_named_and_a_difference_is_a_failure(tmp_path: Path) -> None:
    observed = Observed(arrivals_ns=(1, 2))
    kept = Golden({"tor": "1", "linux": "6"}, {"transport": {"tor": golden_hash(observed)}})
    path = tmp_path / "golden.toml"
    write_golden(kept, path)
    assert read_golden(path) == kept
    assert kept.other_laboratory({"tor": "1"}) == ""
    assert kept.other_laboratory({"tor": "2"}) == "tor 2, expected 1"
    assert kept.other_laboratory({"nft": "9"}) == "nft 9, expected none"
    assert kept.complaint("transport", "tor", observed) == ""
    assert "has changed" in kept.complaint("transport", "tor", Observed())
    assert "has no golden hash" in kept.complaint("transport", "obfs4", observed)
    assert read_golden(tmp_path / "none.toml") == Golden()


KERNEL = Kernel(Path(), Path(), "a build", "6.12.1")


def test_a_laboratory_is_the_kernel_the_image_and_programs_of_neither(tmp_path: Path) -> None:
    of_image = laboratory([Program("tor", apt="tor")], KERNEL)
    assert "laboratory" in of_image
    assert not {"tor", "testbed"} & set(of_image)
    program = tmp_path / "own"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    own = laboratory([Program(str(program))], KERNEL)
    assert "sha256" in own[str(program)]
    other = laboratory([], replace(KERNEL, key="another build"))
    assert other["laboratory"] != of_image["laboratory"] == own["laboratory"]


@dataclass(frozen=True)
class Instant:
    """A subject that is observed at once (`golden.Subject`)."""

    kind: str
    name: str
    seen: Observed
    needed: Sequence[Program] = ()

    def observe(self, *_: object) -> Observed:
        return self.seen


def check(
    monkeypatch: pytest.MonkeyPatch,
    path: Path,
    *seen: Observed,
    update: bool,
    kernel: Kernel = KERNEL,
    name: str = "",
) -> int:
    """Return the status of `testbed check golden` where these are all that is observed."""
    subjects = [Instant("cell", f"number {number}", each) for number, each in enumerate(seen)]
    monkeypatch.setattr(golden_command, "_subjects", lambda: subjects)
    monkeypatch.setattr(golden_command, "guest_kernel", lambda: kernel)
    monkeypatch.setattr(golden_hashes, "read_golden", partial(read_golden, path))
    monkeypatch.setattr(golden_hashes, "write_golden", partial(write_golden, path=path))
    try:
        golden_command.check_golden(name=[name] if name else None, update=update)
    except typer.Exit as end:
        return end.exit_code
    return 0


def test_the_command_keeps_hashes_and_reports_a_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "golden.toml"
    one, two = Observed(arrivals_ns=(1,)), Observed(arrivals_ns=(2,))
    assert check(monkeypatch, path, one, two, update=False) == 0
    assert "not compared" in capsys.readouterr().out  # as long as there is no laboratory to compare
    assert check(monkeypatch, path, one, two, update=True) == 0
    assert check(monkeypatch, path, one, two, update=False) == 0
    capsys.readouterr()
    assert check(monkeypatch, path, one, one, update=False) == 1
    said = capsys.readouterr().out
    assert "equal" in said
    assert "cell number 1: what was observed has changed" in " ".join(said.split())
    other = replace(KERNEL, key="another build")
    assert check(monkeypatch, path, one, one, update=False, kernel=other) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert re.search(r"not compared cell number 1: laboratory \w{12}, expected \w{12}", said)


def test_one_hash_is_updated_beside_the_others_only_in_their_laboratory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "golden.toml"
    one, two, three = (Observed(arrivals_ns=(number,)) for number in range(3))
    assert check(monkeypatch, path, one, two, update=True) == 0
    assert check(monkeypatch, path, three, three, update=True, name="number 1") == 0
    assert read_golden(path).hashes["cell"] == {
        "number 0": golden_hash(one),
        "number 1": golden_hash(three),
    }
    other = replace(KERNEL, key="another build")
    with pytest.raises(ScenarioError, match="update all: laboratory"):
        check(monkeypatch, path, two, two, update=True, kernel=other, name="number 1")
    assert read_golden(path).hashes["cell"]["number 1"] == golden_hash(three)


def test_a_name_that_has_no_hash_is_a_usage_error() -> None:
    with pytest.raises(ScenarioError, match="nothing is called nosuch that has a hash; there are "):
        golden_command.check_golden(name=["nosuch"])
