"""What a guest's host process can do, as if a program had broken out of the guest kernel.

A shell takes the place of the guest kernel, so that no guest has to boot.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import trio

from testbed.cli.isolation import check_isolation
from testbed.guest.kernel import confinement as module
from testbed.guest.kernel import guest
from testbed.guest.kernel.builder import Kernel
from testbed.guest.kernel.confinement import (
    Layers,
    Limits,
    View,
    available_layers,
    confinement,
    existing,
)
from testbed.guest.kernel.guest import GuestError, GuestOptions, run_guest
from testbed.guest.machine import machine_with
from testbed.record.left_files import settle

pytestmark = pytest.mark.guest
SYSTEM = existing(map(Path, ("/bin", "/lib", "/lib64", "/usr")))
"""What a shell of the host needs."""


@dataclass(frozen=True)
class Cell:
    """A confined shell, and what it is to reach and not to reach."""

    launcher: Path
    layers: Layers
    folder: Path
    """A folder of the user, which has the job's."""
    limits: Limits = field(default_factory=Limits)

    @property
    def job(self) -> Path:
        return self.folder / "job"

    @property
    def secret(self) -> Path:
        return self.folder / "secret"

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a shell's script in the job's folder; it gets the user's folder as its argument."""
        confined = confinement(self.launcher, self.layers, self.limits, [self.folder])
        if confined.user is not None:
            settle(self.job, confined.user)
        memory = self.folder / "memory"
        memory.mkdir(exist_ok=True)
        where = module.MEMORY if self.layers.namespaces else memory
        view = View([*SYSTEM, self.job], [self.job], where, 64 << 20)
        command = confined.command(["/bin/sh", "-c", script, "sh", str(self.folder)], view)
        return subprocess.run(
            command, cwd="/", capture_output=True, text=True, timeout=60, check=False
        )


def layers_here(kernel: Kernel) -> dict[str, Layers]:
    """Return the confinements that each keep files away."""
    best = available_layers(kernel.launcher)
    bare = Layers(limits=True)
    return {
        "all": best,
        "namespaces": replace(bare, namespaces=best.namespaces),
        "Landlock": replace(bare, landlock=best.landlock),
        "Landlock 2": replace(bare, landlock=min(best.landlock, 2)),
    }


@pytest.fixture(params=["all", "namespaces", "Landlock", "Landlock 2"])
def cell(request: pytest.FixtureRequest, kernel: Kernel, tmp_path: Path) -> Cell:
    layers = layers_here(kernel)[request.param]
    if not layers.keep_files_away:
        pytest.skip(f"this machine has no {request.param}")
    (tmp_path / "job").mkdir()
    (tmp_path / "secret").write_text("private")
    return Cell(kernel.launcher, layers, tmp_path)


def test_a_host_file_can_neither_be_read_nor_written_nor_removed(cell: Cell) -> None:
    attempts = (
        'cat "$1/secret"',
        'echo changed > "$1/secret"',
        'rm "$1/secret"',
        'ln "$1/secret" "$1/job/link" && cat "$1/job/link"',
        'ln -s "$1/secret" "$1/job/link"; cat "$1/job/link"',
        'touch "$1/new"',
        "cat /etc/passwd",
        "cat /etc/shadow",
        "touch /tmp/left-by-a-guest",
        "touch /usr/left-by-a-guest",
        'touch "$HOME/left-by-a-guest"',
    )
    for attempt in attempts:
        done = cell.run(f'rm -f "$1/job/link"; {attempt}')
        assert done.returncode != 0, attempt
        assert "private" not in done.stdout
        assert "root:" not in done.stdout
    assert cell.secret.read_text() == "private"
    assert sorted(path.name for path in cell.folder.iterdir()) == ["job", "memory", "secret"]


def test_the_folder_of_its_job_can_be_written(cell: Cell) -> None:
    done = cell.run('echo kept > "$1/job/kept" && cat "$1/job/kept"')
    assert (done.stdout, done.stderr) == ("kept\n", "")
    settle(cell.job)
    assert (cell.job / "kept").read_text() == "kept\n"


def test_it_has_neither_capabilities_nor_a_way_to_more_rights(cell: Cell) -> None:
    done = cell.run("while read -r name value; do echo $name $value; done < /proc/self/status")
    if not cell.layers.namespaces and done.returncode == 0:
        assert "CapEff: 0000000000000000" in done.stdout
        assert "NoNewPrivs: 1" in done.stdout
    done = cell.run("mount -t tmpfs tmpfs /usr || chroot / true || unshare --net true")
    assert done.returncode != 0


def test_with_namespaces_no_process_of_the_host_is_visible_or_can_be_killed(cell: Cell) -> None:
    if not cell.layers.namespaces:
        pytest.skip("it takes namespaces")
    victim = subprocess.Popen(["sleep", "600"])
    try:
        killed = cell.run(f"kill -9 {victim.pid}")
        assert killed.returncode != 0
        assert victim.poll() is None
        numbers = [name for name in cell.run("ls /proc").stdout.split() if name.isdecimal()]
        assert 0 < len(numbers) < 5
        assert "sleep" not in cell.run("cat /proc/*/cmdline").stdout
    finally:
        victim.kill()
        victim.wait()


def test_it_cannot_lift_its_limits(cell: Cell) -> None:
    small = replace(cell, limits=Limits(open_files=64, job_bytes=1 << 20))
    done = small.run("ulimit -n; ulimit -n 65 || ulimit -Hn 65")
    assert done.stdout == "64\n"
    assert done.returncode != 0
    most = max(small.limits.job_bytes, 64 << 20)  # its memory is a file, too
    done = small.run('head -c 70000000 /dev/zero > "$1/job/big"')
    assert done.returncode != 0
    settle(small.job)
    assert not (small.job / "big").exists() or (small.job / "big").stat().st_size <= most


def test_it_ends_with_the_process_that_started_it(cell: Cell, tmp_path: Path) -> None:
    confined = confinement(cell.launcher, cell.layers, cell.limits, [cell.folder])
    view = View([*SYSTEM, cell.job], [], module.MEMORY, 1 << 20)
    mark = f"{os.getpid()}.125"
    command = confined.command(["/bin/sleep", mark], view)
    starter = "import os, subprocess, sys, time; subprocess.Popen(sys.argv[1:]); time.sleep(600)"
    # It names its parent, which is this test's process for the command made here.
    named = [word if word != str(os.getpid()) else "PARENT" for word in command]
    program = starter.replace(
        "sys.argv[1:]", "[w if w != 'PARENT' else str(os.getpid()) for w in sys.argv[1:]]"
    )
    started = subprocess.Popen([sys.executable, "-c", program, *named])
    try:
        trio.run(until, mark, True)
    finally:
        started.kill()
        started.wait()
    trio.run(until, mark, False)


async def until(mark: str, is_there: bool) -> None:
    """Wait until there is a process with a word in its command line, or none."""
    with trio.fail_after(10):
        while any(mark in line for line in command_lines()) != is_there:  # noqa: ASYNC110
            await trio.sleep(0.01)


def command_lines() -> Sequence[str]:
    """Return the command lines of sleeping programs; what the test itself runs has more words."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_text().split("\0")
        except OSError:
            continue  # it has ended meanwhile
        if words[0] == "/bin/sleep":
            found.append(words[1])
    return found


@pytest.mark.parametrize(
    ("script", "limits", "said"),
    [
        ("yes > endless", Limits(job_bytes=8 << 20), "bytes in files"),
        ("for i in $(seq 3000); do : > f$i; done; sleep 9", Limits(job_entries=99), "files and"),
    ],
)
def test_a_guest_that_takes_too_much_is_ended_with_a_sentence(
    kernel: Kernel,
    cpu: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    limits: Limits,
    said: str,
) -> None:
    monkeypatch.setattr(guest, "INTERVAL_S", 0.1)
    (tmp_path / "job").mkdir()

    async def main() -> None:
        await run_guest(
            machine_with(kernel),
            ["sh", "-c", script],
            tmp_path / "job",
            seed=1,
            cpu=cpu,
            wall_limit_s=300,
            options=GuestOptions(limits=limits),
        )

    with pytest.raises(GuestError) as error:
        trio.run(main)
    first = str(error.value).partition("\n")[0]
    assert said in first
    assert "that are allowed" in first
    used = sum(path.stat().st_blocks * 512 for path in (tmp_path / "job").iterdir())
    assert used < 256 << 20


def test_a_guest_cannot_have_more_processes_than_its_limit(
    kernel: Kernel, cpu: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host's kernel refuses them, before the runner looks."""
    monkeypatch.setattr(guest, "INTERVAL_S", 1000.0)
    script = "for i in $(seq 60); do sleep 9 & done; echo all"

    async def main() -> int:
        result = await run_guest(
            machine_with(kernel),
            ["sh", "-c", script],
            tmp_path,
            seed=1,
            cpu=cpu,
            wall_limit_s=300,
            options=GuestOptions(limits=Limits(processes=40)),
        )
        return result.exit_status

    assert trio.run(main) != 0
    assert "Cannot fork" in (tmp_path / "stderr").read_text()
    assert "all" not in (tmp_path / "stdout").read_text()


def test_root_in_a_guest_finds_nothing_of_the_host_by_another_hostfs(
    kernel: Kernel, cpu: int, tmp_path: Path
) -> None:
    (tmp_path / "job").mkdir()
    (tmp_path / "secret").write_text("private")
    script = (
        "mkdir -p /run/host; mount -t hostfs none /run/host -o / && ls /run/host/etc /run/host/home"
        f"; cat /run/host{tmp_path}/secret; echo changed > /run/host{tmp_path}/secret;"
        f"touch /run/host{tmp_path}/new; mount -o remount,rw /; touch /usr/new; true"
    )

    async def main() -> None:
        await run_guest(
            machine_with(kernel),
            ["sh", "-c", script],
            tmp_path / "job",
            seed=1,
            cpu=cpu,
            wall_limit_s=300,
        )

    trio.run(main)
    said = (tmp_path / "job" / "stdout").read_text()
    assert said == ""
    assert (tmp_path / "secret").read_text() == "private"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job", "secret"]


def test_the_suite_of_attacks_says_which_layer_holds_an_attack(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("testbed.cli.isolation.as_another_user", lambda *_: [])
    check_isolation(["overwrite"], False, None)
    said = " ".join(capfd.readouterr().out.split())
    assert (
        "held Write over a file of the user instead of a guest's kernel namespaces, Landlock"
        in said
    )
    assert "1 attacks succeed when nothing confines the guest; held in 2 tries" in said
    assert "got through in 0" in said
