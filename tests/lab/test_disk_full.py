"""A disk that fills up under a run: one clear error, and what was finished is kept."""

from __future__ import annotations

import shutil
import subprocess
from errno import ENOSPC
from pathlib import Path

import pytest

from testbed.guest.kernel.confinement import MEMORY
from testbed.guest.kernel.homes import home_place
from testbed.record.results import Run
from testbed.run import runner
from tests.lab.test_interrupted import SCENARIO
from tests.test_cli import TESTBED

_IN_A_SMALL_DISK = """
mount -t tmpfs -o size=300k tmpfs "$1" || exit 99
shift
"$@"; status=$?
cp -r "$RUN/cells" "$RUN/run.json" "$KEPT"
exit $status
"""


@pytest.mark.guest
def test_a_full_disk_is_a_clear_error_and_loses_no_finished_cell(tmp_path: Path) -> None:
    disk, kept, path = tmp_path / "disk", tmp_path / "kept", tmp_path / "short.toml"
    disk.mkdir()
    kept.mkdir()
    path.write_text(SCENARIO.replace("[1, 2, 3, 4, 5]", str(list(range(40)))))
    command = [TESTBED, "run", str(path), "--out", str(disk / "run"), "--jobs", "1"]
    namespace = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", _IN_A_SMALL_DISK]
    done = subprocess.run(
        [*namespace, "sh", str(disk), *command],
        env={
            **{"RUN": str(disk / "run"), "KEPT": str(kept), "HOME": str(Path.home())},
            "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 99:
        pytest.skip(f"no user namespace may mount here: {done.stderr}")
    assert done.returncode == 1
    assert "is full. What is finished is kept: make room, and run it again" in done.stderr
    assert "Traceback" not in done.stderr
    results = Run(kept).cells()
    assert 0 < len(results) < 80
    assert {result.record.verdict.label for result in results} == {"good"}


@pytest.mark.parametrize("place", ["run", "homes", "memory"])
def test_the_disk_that_is_full_is_the_one_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """A cell fails in words of its own if any of three disks is full."""
    full = {"run": tmp_path, "homes": home_place(), "memory": MEMORY}[place]
    room = shutil.disk_usage(tmp_path)

    def usage(asked: Path) -> object:
        return room._replace(free=0 if asked == full else 2**40)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    with pytest.raises(OSError, match="No space left") as found:
        runner.check_room(tmp_path)
    assert (found.value.errno, found.value.filename) == (ENOSPC, str(full))
