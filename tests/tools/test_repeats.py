"""Cells are the same to the byte: again, on any processor, beside others, by any build."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from testbed.experiment.unfolding import cell_id
from testbed.guest.image.tree import our_image
from testbed.guest.kernel import builder, workshop
from testbed.guest.kernel.builder import Kernel, build_kernel
from testbed.record.results import WALL
from testbed.run.provenance import lacking
from testbed.tools.repeatability import circumstances, differing, repeat, repeat_cells

CELLS = {cell_id(cell): cell for cell in repeat_cells([], [])}


@pytest.fixture(scope="module")
def other_build(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The same kernel, built at another place, time and by another name: utsname differs."""
    image = our_image()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("a cache elsewhere")))
        stamp = {
            "KBUILD_BUILD_TIMESTAMP": "Thu Jan  1 00:00:00 UTC 2026",
            "KBUILD_BUILD_USER": "somebody",
            "KBUILD_BUILD_HOST": "elsewhere",
            "KBUILD_BUILD_VERSION": "77",
        }
        patch.setattr(workshop, "_FIXED", {**workshop._FIXED, **stamp})
        patch.setattr(builder, "our_image", lambda: image)
        yield build_kernel(progress=lambda _stage, _share: None).path


def test_each_transport_and_messenger_that_is_shipped_is_tried() -> None:
    assert {
        "whatsapp--tor--ru-calls-2025-08--seed-1",
        "whatsapp--hysteria2-through-xray--ru-calls-2025-08--seed-1",
        "telegram--direct--ru-calls-2025-08--seed-1",
        "telegram--direct--loss-10--seed-1",
    } < (set(CELLS))
    [only] = repeat_cells([], ["obfs4"])
    assert (only.messenger.name, only.transport.name) == ("whatsapp", "obfs4")
    assert [cell.messenger.name for cell in repeat_cells(["max"], [])] == ["max", "max"]


def test_what_differs_between_two_cells_is_named_but_for_what_they_cost(tmp_path: Path) -> None:
    for name in ("left", "right"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "frames.csv").write_text("up,0,0,1\n")
        (tmp_path / name / WALL).write_text(name)
    assert differing(tmp_path / "left", tmp_path / "right") == []
    (tmp_path / "right" / "frames.csv").write_text("up,0,0,2\n")
    (tmp_path / "right" / "caller-tor.log").write_text("late\n")
    assert differing(tmp_path / "left", tmp_path / "right") == ["caller-tor.log", "frames.csv"]


@pytest.mark.guest
def test_another_seed_makes_a_difference(kernel: Kernel, tmp_path: Path) -> None:
    """The comparison can fail: a kernel that seeded from elsewhere would be found out."""
    cell = CELLS["whatsapp--direct--ru-calls-2025-08--seed-1"]
    [first, again, *_] = circumstances(kernel, sorted(os.sched_getaffinity(0)))
    found = trio.run(repeat, cell, [first, again], tmp_path / "same", lambda: None)
    assert found.ok
    kept = tmp_path / "same" / "0" / "cells" / found.name
    other = replace(cell, seed=2)
    trio.run(repeat, other, [first], tmp_path / "other", lambda: None)
    assert "frames.csv" in differing(kept, tmp_path / "other" / "0" / "cells" / cell_id(other))


@pytest.mark.slow
@pytest.mark.guest
@pytest.mark.parametrize("name", CELLS)
def test_a_cell_is_the_same_to_the_byte_in_all_circumstances(
    name: str, kernel: Kernel, other_build: Path, tmp_path: Path
) -> None:
    cell = CELLS[name]
    if lacks := lacking([cell]):
        pytest.skip(lacks)
    assert other_build.read_bytes() != kernel.path.read_bytes()
    ways = circumstances(kernel, sorted(os.sched_getaffinity(0)), other_build)
    found = trio.run(repeat, cell, ways, tmp_path / "runs", lambda: None)
    assert found.ok, found
