"""The bundle from which guests import: all of a cell's code, nothing large beside, and in time."""

from __future__ import annotations

import marshal
import subprocess
import sys
from importlib.util import module_from_spec
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import pytest

from testbed.guest.boot import BUNDLE, GENERATED, INDEX, Bundle
from testbed.guest.code_tree import BOOT, PLACE, guest_code
from testbed.plugins import names


@pytest.fixture(scope="module")
def index() -> dict[str, Any]:
    content: dict[str, Any] = marshal.loads((guest_code() / INDEX).read_bytes())
    return content


def test_the_bundle_has_the_code_of_every_module_that_it_lists(index: dict[str, Any]) -> None:
    code = (guest_code() / BUNDLE).read_bytes()
    for _, origin, start, size in index["modules"].values():
        module = marshal.loads(code[start : start + size])
        assert isinstance(module, CodeType)
        assert Path(module.co_filename).name == Path(origin).name


def test_cells_find_the_lab_there_and_nothing_that_hosts_alone_need(index: dict[str, Any]) -> None:
    names = {*index["modules"], *index["extensions"]}
    assert {"trio", "testbed.lab.main", "transports.obfs4", "netfilterqueue._impl"} <= names
    packages = {name.partition(".")[0] for name in names}
    assert not packages & {"pyroute2", "mininet", "pydantic", "numpy", "asyncio", "site"}


@pytest.mark.parametrize(
    "package",
    [
        "testbed.call.dialects",
        "testbed.censor.actions",
        "testbed.censor.detectors",
        "testbed.lab.engines",
    ],
)
def test_a_guest_lists_the_modules_of_a_package_as_its_host_does(package: str) -> None:
    assert sorted(Bundle(str(guest_code())).submodules(package)) == names(package)


def test_what_is_shown_in_guests_depends_on_no_place_of_the_host(index: dict[str, Any]) -> None:
    tree = str(guest_code())
    assert not any(tree in origin for _, origin, _, _ in index["modules"].values())
    assert not any(tree in origin for origin in index["extensions"].values())


def loaded(folder: Path, name: str, text: str, generated: dict[str, CodeType]) -> ModuleType:
    """A module with a text, from a bundle that has but it."""
    code = marshal.dumps(compile(text, "a file", "exec"))
    content = {"modules": {name: (False, "a file", 0, len(code))}, "extensions": {}}
    (folder / BUNDLE).write_bytes(code)
    (folder / INDEX).write_bytes(marshal.dumps(content))
    (folder / GENERATED).write_bytes(marshal.dumps(generated))
    spec = Bundle(str(folder)).find_spec(name)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_module_that_is_seldom_used_runs_when_it_is_first_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[str] = []
    monkeypatch.setattr(sys, "runs", runs, raising=False)
    text = "import sys\nsys.runs.append(__name__)\nanswer = 42\n"
    assert loaded(tmp_path, "ordinary", text, {}).__name__ == "ordinary"
    assert runs == ["ordinary"]
    module = loaded(tmp_path, "idna", text, {})
    assert module.__spec__ is not None
    assert runs == ["ordinary"]
    assert module.answer == module.answer == 42
    assert runs == ["ordinary", "idna"]


def test_what_dataclasses_generate_is_what_was_compiled_for_its_text(tmp_path: Path) -> None:
    known, other = "made = 1", "made = 2"
    generated = {known: compile("made = 'as compiled before'", "a text", "exec")}
    module = loaded(tmp_path, "dataclasses", "def run(text, to): exec(text, to)", generated)
    for text, made in ((known, "as compiled before"), (other, 2)):
        place: dict[str, object] = {}
        module.run(text, place)
        assert place["made"] == made


def test_how_the_hosts_python_optimizes_changes_nothing_in_guests() -> None:
    asked = "from testbed.guest.code_tree import BOOT, guest_code; print(BOOT, guest_code())"
    done = subprocess.run(
        [sys.executable, "-OO", "-c", asked], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(BOOT), str(guest_code())]
    assert (guest_code() / BOOT.relative_to(PLACE)).is_file()
