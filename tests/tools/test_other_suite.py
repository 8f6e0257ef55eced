"""Quick tests in the other Debian suite: which one it is, and what is said where it cannot be."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest
import typer

from testbed.cli import other_suite as command
from testbed.experiment.explanations import ScenarioError
from testbed.guest.image.lock import ImageError
from testbed.guest.image.tree import our_image
from testbed.tools import suite_tree


@pytest.mark.parametrize(
    ("here", "other"), [("bookworm", "trixie"), ("trixie", "bookworm"), ("noble", "trixie")]
)
def test_the_other_suite_is_one_that_this_machine_does_not_have(
    monkeypatch: pytest.MonkeyPatch, here: str, other: str
) -> None:
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: {"VERSION_CODENAME": here})
    assert suite_tree.other_suite() == other


@pytest.mark.parametrize(("ci", "status"), [("true", 1), ("", 0)])
def test_where_no_tree_can_be_made_it_is_said_and_fails_in_ci(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ci: str, status: int
) -> None:
    def refuse(*_: object) -> Path:
        raise ImageError("there is no apt here")

    monkeypatch.setattr(command, "suite_folder", refuse)
    monkeypatch.setenv("CI", ci)
    with pytest.raises(typer.Exit) as end:
        command.check_suite("bookworm")
    assert end.value.exit_code == status
    said = capsys.readouterr().out
    assert "The quick tests were not run in bookworm: there is no apt here" in said


@pytest.mark.parametrize("status", [0, 2])
def test_tests_that_fail_there_fail_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int
) -> None:
    monkeypatch.setattr(command, "suite_folder", lambda *_: tmp_path)
    monkeypatch.setattr(command, "python_in", lambda *_: ["sh", "-c", f"exit {status}"])
    if status == 0:
        command.check_suite("trixie")
    else:
        with pytest.raises(typer.Exit, match="1"):
            command.check_suite("trixie")


def test_a_suite_that_is_not_known_is_refused() -> None:
    with pytest.raises(ScenarioError, match=r"there is no suite trixy; .*trixie"):
        command.check_suite("trixy")


def test_a_program_in_the_tree_sees_the_checkout_and_the_cache_and_nothing_else_of_the_host(
    tmp_path: Path,
) -> None:
    (tmp_path / "root").symlink_to(our_image().tree())
    (tmp_path / "wheels").mkdir()
    (tmp_path / "secret").touch()
    seen = "; ".join(
        (
            "import os, sys, testbed.guest.user_cache as cache",
            "print(sys.version_info[:2], os.path.isfile('lab'), cache.user_cache().is_dir())",
            f"print(os.path.exists({str(tmp_path / 'secret')!r}), os.listdir('/root'))",
        )
    )
    try:
        words = suite_tree.python_in(tmp_path, ["-c", seen])
    except ImageError as error:
        pytest.skip(str(error))
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["(3, 13) True True", "False []"]
