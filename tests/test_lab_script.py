"""What ./lab does before there is an environment: it answers, and installs nothing for that."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from testbed import __version__
from testbed.cli import inferring
from testbed.cli.registry import commands
from testbed.experiment.scenario import ROOT
from tests.command import command


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A checkout without an environment."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in ("lab", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    for name in ("testbed/cli", "testbed/guest/image"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "testbed" / "__init__.py", folder / "testbed")
    return folder


def lab(
    checkout: Path, *words: str, path: str = "/usr/bin:/bin"
) -> subprocess.CompletedProcess[str]:
    env = {"PATH": path, "HOME": str(checkout.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        ["/bin/sh", checkout / "lab", *words], capture_output=True, text=True, check=False, env=env
    )


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",), ("help",)])
def test_help_lists_every_command_and_installs_nothing(bare: Path, words: tuple[str, ...]) -> None:
    before = sorted(bare.rglob("*"))
    done = lab(bare, *words)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert all(len(line) <= 100 for line in lines)
    listed = {
        line.split()[0]: line.split()[1:]
        for line in lines
        if line.startswith("  ") and line[2] != " "
    }
    assert set(listed) == {name for name, _ in commands()} | {"test", "docs"}
    assert all(listed.values()), listed
    assert sorted(bare.rglob("*")) == before
    assert not done.stderr


def test_the_version_is_said_without_an_environment(bare: Path) -> None:
    assert lab(bare, "--version").stdout == f"testbed {__version__}\n"
    assert command("--version").out == f"testbed {__version__}\n"


def test_a_shell_that_completes_words_waits_for_no_installation(bare: Path) -> None:
    before = sorted(bare.rglob("*"))
    env = {
        **os.environ,
        "_TESTBED_COMPLETE": "complete_bash",
        "COMP_WORDS": "./lab",
        "COMP_CWORD": "1",
    }
    done = subprocess.run(["/bin/sh", bare / "lab"], env=env, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert sorted(bare.rglob("*")) == before


def test_without_root_and_sudo_there_is_one_command_to_copy(bare: Path, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "dirname", "sha256sum", "cut", "cat", "tr", "sed", "grep", "python3", "env"):
        (programs / name).symlink_to(shutil.which(name) or name)
    for name, text in (("id", "echo 1000"), ("dpkg-query", "exit 1")):
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    done = lab(bare, "list", "scenarios", path=str(programs))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "lab:   apt-get update && apt-get install --no-install-recommends "
        "python3 python3-venv util-linux pocketsphinx-testdata"
    )


def made(checkout: Path, tmp_path: Path, modules: str) -> Path:
    """Make an environment whose Python finds all modules or none; return what is called there."""
    binaries = checkout / ".venv" / "bin"
    binaries.mkdir(parents=True)
    called = tmp_path / "called"
    status = 0 if modules == "all" else 1
    for name, then in (("python", f"exit {status}"), ("pip", ""), ("testbed", "")):
        log = "" if name == "python" else f'echo {name} "$@" >>{called}'
        (binaries / name).write_text(f"#!/bin/sh\n{log}\n{then}\n")
        (binaries / name).chmod(0o755)
    stamp = 'cksum "$0/pyproject.toml" "$0/constraints.txt"; /usr/bin/python3 --version'
    said = subprocess.run(["sh", "-c", stamp, checkout], capture_output=True, check=True)
    (checkout / ".venv" / ".made-from").write_bytes(said.stdout)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "dpkg-query").write_text("#!/bin/sh\necho installed\n")
    (programs / "dpkg-query").chmod(0o755)
    return called


@pytest.mark.parametrize(
    ("words", "installed"),
    [
        ("run quick", ""),
        ("plot results/quick", ""),
        ("infer ru-calls-2025", "infer"),
        ("check infer", "infer"),
        ("check golden", ""),
        ("score --help", ""),
        ("score results/quick", "scores"),
        ("run quick --scheduler local:2", "dask"),
    ],
)
def test_what_a_command_needs_besides_is_installed_when_it_is_asked_for(
    bare: Path, tmp_path: Path, words: str, installed: str
) -> None:
    called = made(bare, tmp_path, "none")
    done = lab(bare, *words.split(), path=f"{tmp_path}/bin:/usr/bin:/bin")
    assert done.returncode == 0, done.stderr
    *pip, testbed = called.read_text().splitlines()
    assert testbed == f"testbed {words}"
    assert [each.endswith(f"[{installed}]") for each in pip] == [True] * bool(installed)


def test_what_is_there_already_is_not_installed_again(bare: Path, tmp_path: Path) -> None:
    called = made(bare, tmp_path, "all")
    lab(bare, "infer", "ru-calls-2025", path=f"{tmp_path}/bin:/usr/bin:/bin")
    assert called.read_text() == "testbed infer ru-calls-2025\n"


def test_who_infers_without_lab_gets_the_command_that_installs_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inferring, "find_spec", lambda _: None)
    done = command("infer", "ru-calls-2025")
    assert done.status == 1
    assert "pip install dynesty==" in done.err
    assert " scikit-learn==" in done.err


@pytest.mark.parametrize(
    ("shell", "way"), [("bash", "./lab"), ("zsh", "./lab"), ("fish", "testbed")]
)
def test_completion_is_printed_for_shells_and_serves_lab_too(shell: str, way: str) -> None:
    done = command("completion", shell)
    assert done.status == 0
    assert "_TESTBED_COMPLETE" in done.out
    assert way in done.out.splitlines()[-1]
