"""The wheel and the sdist have all that is needed, and the wheel works outside any checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest

from testbed.experiment.scenario import ROOT

OURS = ("testbed", "transports", "scenarios")
"""The folders whose files are needed at run time."""


def build(project: Path, kind: str, folder: Path) -> Path:
    """Build the project's wheel or sdist, and return its path."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)]
    subprocess.run(command, cwd=project, check=True, capture_output=True)
    [made] = folder.iterdir()
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, "wheel", tmp_path_factory.mktemp("wheel"))


def contents(wheel: Path) -> dict[str, bytes]:
    """Return the files of a wheel that are ours, by name."""
    with ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
        return {name: archive.read(name) for name in names}


def needed() -> Iterator[tuple[str, bytes]]:
    """Yield each file that is needed at run time: its name in a wheel, and its content."""
    for folder in OURS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                name = str(path.relative_to(ROOT))
                yield f"testbed/{name}" if folder == "scenarios" else name, path.read_bytes()


def test_the_wheel_has_every_file_that_is_needed(wheel: Path) -> None:
    assert contents(wheel) == dict(needed())


def test_a_wheel_from_the_sdist_is_equal(wheel: Path, tmp_path: Path) -> None:
    sdist = build(ROOT, "sdist", tmp_path / "sdist")
    subprocess.run(["tar", "-xzf", sdist, "-C", tmp_path], check=True)
    [project] = tmp_path.glob("call_testbed-*")
    assert not (project / ".git").exists()
    assert contents(build(project, "wheel", tmp_path / "wheel")) == contents(wheel)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a virtual environment with the wheel, and with our libraries by a path."""
    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(environment), "--quiet"]
    install = ["install", "--no-index", "--no-deps", "--disable-pip-version-check", str(wheel)]
    subprocess.run([*pip, *install], check=True)
    [packages] = environment.glob("lib/*/site-packages")
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment / "bin"


def run(program: Path, *words: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    without = {"PYTHONPATH", "COLUMNS"}
    inherited = {name: value for name, value in os.environ.items() if name not in without}
    return subprocess.run(
        [program, *words],
        cwd=cwd,
        env={**inherited, "COLUMNS": "100", **env},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.guest
def test_an_installed_wheel_runs_a_scenario(installed: Path, tmp_path: Path) -> None:
    testbed = installed / "testbed"
    where = run(installed / "python", "-c", "import testbed; print(testbed.__file__)", cwd=tmp_path)
    assert Path(where.stdout).is_relative_to(installed.parent)
    assert "reproduce" in run(testbed, "--help", cwd=tmp_path).stdout
    assert "quick" in run(testbed, "list", "scenarios", cwd=tmp_path).stdout
    done = run(testbed, "run", "quick", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 unusable" in done.stdout
    assert (tmp_path / "results" / "quick" / "run.json").is_file()


@pytest.mark.slow
def test_an_installed_wheel_builds_the_same_guest_kernel(installed: Path, tmp_path: Path) -> None:
    """The recipe is the checkout's to the byte, so one kernel in the cache serves both."""
    recipe = "from testbed.guest.kernel.cache import our_recipe; print(our_recipe().digest)"
    here = run(Path(sys.executable), "-c", recipe, cwd=ROOT)
    assert run(installed / "python", "-c", recipe, cwd=tmp_path).stdout == here.stdout != ""


@pytest.mark.slow
def test_what_needs_a_checkout_says_so(installed: Path, tmp_path: Path) -> None:
    for words in (("check", "golden"), ("docs", "tables")):
        done = run(installed / "testbed", *words, cwd=tmp_path)
        assert done.returncode == 2
        assert "needs a checkout" in done.stderr
    done = run(installed / "testbed", "new", "transport", "mine", cwd=tmp_path)
    assert "testbed check transport ./mine.py" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]
