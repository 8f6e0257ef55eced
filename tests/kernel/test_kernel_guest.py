"""Jobs in a booted guest: what passes through, what cannot get out, and what a death looks like."""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import pytest
import trio

from testbed.guest.image.tree import PYTHON
from testbed.guest.kernel import guest
from testbed.guest.kernel.builder import Kernel
from testbed.guest.kernel.guest import (
    GuestError,
    GuestOptions,
    GuestResult,
    Machine,
    run_guest,
)
from testbed.guest.kernel.homes import memory_folder
from testbed.guest.kernel.job import PROFILE_FILE, Counts
from testbed.guest.kernel.usage import Watch, descendants
from testbed.guest.kernel.workshop import compile_program
from testbed.guest.machine import machine_with
from testbed.tools.syscall_profile import read_profile

pytestmark = pytest.mark.guest

WALL_LIMIT_S = 30.0

# Starts a program under a seccomp filter that lets all pass but has a listener (flag 8); the host
# allows one to a process.
WATCHED = """\
#!{python}
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
allow = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0x7FFF0000))
program = ctypes.create_string_buffer(struct.pack("=H6xQ", 1, ctypes.addressof(allow)))
libc.prctl(38, 1, 0, 0, 0)
listener = libc.syscall(317, 1, 8, program)
assert listener >= 0, os.strerror(ctypes.get_errno())
os.set_inheritable(listener, True)
os.execv("{linux}", ["{linux}", *sys.argv[1:]])
"""


@dataclass(frozen=True)
class Bench:
    """A machine, a processor, a fresh folder for the job, and the guests that were started."""

    machine: Machine
    cpu: int
    folder: Path
    guests: list[int]

    async def run_async(
        self,
        argv: Sequence[str],
        *,
        seed: int = 1,
        wall_limit_s: float = WALL_LIMIT_S,
        options: GuestOptions = GuestOptions(),  # noqa: B008 - frozen
    ) -> GuestResult:
        return await run_guest(
            self.machine,
            argv,
            self.folder,
            seed=seed,
            cpu=self.cpu,
            wall_limit_s=wall_limit_s,
            options=options,
        )

    def run(
        self,
        *argv: str,
        seed: int = 1,
        wall_limit_s: float = WALL_LIMIT_S,
        options: GuestOptions = GuestOptions(),  # noqa: B008 - frozen
    ) -> GuestResult:
        async def main() -> GuestResult:
            return await self.run_async(argv, seed=seed, wall_limit_s=wall_limit_s, options=options)

        return trio.run(main)

    @property
    def stdout(self) -> str:
        return (self.folder / "stdout").read_text()

    @property
    def profile(self) -> str:
        return (self.folder / PROFILE_FILE).read_text()

    @property
    def stderr(self) -> str:
        return (self.folder / "stderr").read_text()


@pytest.fixture
def bench(kernel: Kernel, cpu: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    # tmp_path is below /tmp, which scratch covers in the guest, and has blanks here
    folder = tmp_path / "a job's folder"
    folder.mkdir()
    guests: list[int] = []

    class Noted(Watch):
        def excess(self) -> str:
            guests.extend(descendants(self._process))
            return super().excess()

    monkeypatch.setattr(guest, "Watch", Noted)
    monkeypatch.setattr(guest, "INTERVAL_S", 0.1)
    return Bench(machine_with(kernel, ["iproute2"]), cpu, folder, guests)


def assert_they_end(numbers: Sequence[int]) -> None:
    """Fail if a process that was told to die does not."""

    async def main() -> None:
        with trio.fail_after(5):
            for number in numbers:
                with suppress(ProcessLookupError):
                    pidfd = os.pidfd_open(number)
                    await trio.lowlevel.wait_readable(pidfd)
                    os.close(pidfd)

    trio.run(main)


def test_a_minute_passes_in_less_than_a_second(bench: Bench) -> None:
    result = bench.run("sleep", "60")
    assert result.exit_status == 0
    assert 60 <= result.virtual_s < 60.1
    assert result.wall_s < 1
    assert "Linux version" in result.console


def test_arguments_environment_output_and_status_pass_through(bench: Bench) -> None:
    program = "import os, sys; print(sys.argv[1:], os.environ['X']); sys.exit('bye')"
    odd = ["", "a b", "*", "'\"$HOME\\", "ä\n\udcff"]
    result = bench.run(
        str(PYTHON), "-I", "-S", "-c", program, *odd, options=GuestOptions(env={"X": "ü 1"})
    )
    assert result.exit_status == 1
    assert bench.stdout == f"{odd} ü 1\n"
    assert bench.stderr == "bye\n"
    left = sorted(path.name for path in bench.folder.iterdir())
    assert left == ["console", "stderr", "stdout"]


@pytest.mark.parametrize(
    ("script", "status"),
    [("exit 7", 7), ("kill -TERM $$", 128 + 15), ("exec /no/such/program", 127)],
)
def test_the_status_is_as_a_shell_counts_it(bench: Bench, script: str, status: int) -> None:
    assert bench.run("sh", "-c", script).exit_status == status


def test_what_a_job_costs_is_counted(bench: Bench) -> None:
    source = Path(guest.__file__).parent / "programs" / "costs.c"
    compile_program(source, bench.folder / "costs", "-O1", "-static")

    def counted(kind: str, number: int) -> Counts:
        none, some = (bench.run("./costs", kind, str(n)).counts for n in (0, number))
        return Counts(*(b - a for a, b in zip(astuple(none), astuple(some), strict=True)))

    assert 10_000 <= counted("syscalls", 10_000).syscalls < 10_100
    written = counted("pages", 16_384)
    assert 1_024 <= written.faults < 1_100  # blocks of 16 pages come in together
    assert 64 << 20 <= written.memory_bytes < 70 << 20
    assert counted("execs", 50).execs == 50


def test_the_profile_of_each_program_is_given_on_request(bench: Bench) -> None:
    source = Path(guest.__file__).parent / "programs" / "costs.c"
    compile_program(source, bench.folder / "costs", "-O1", "-static")
    plain = bench.run("./costs", "syscalls", "2000")
    assert not (bench.folder / PROFILE_FILE).exists()
    profiled = bench.run("./costs", "syscalls", "2000", options=GuestOptions(profile=True))
    programs = {each.name: each for each in read_profile(bench.profile)}
    assert programs["costs"].count("getppid") == 2000
    assert {"costs", "init"} <= programs.keys()
    assert profiled.virtual_s == plain.virtual_s
    assert 0 < sum(each.took_s for each in programs.values()) < 2 * profiled.wall_s


def test_a_program_not_found_is_127_and_says_so(bench: Bench) -> None:
    assert bench.run("no-such-program").exit_status == 127
    assert "no-such-program: No such file or directory" in bench.stderr


def test_only_the_folder_takes_what_stays(bench: Bench) -> None:
    name = f"of-{os.getpid()}"
    script = (
        f"for it in / /etc /usr /root; do touch $it/{name} && exit 1; done\n"
        f"for it in /tmp /run /var/tmp /dev/shm $HOME; do touch $it/{name} || exit 1; done\n"
        "pwd && echo kept > kept"
    )
    assert bench.run("sh", "-c", script).exit_status == 0
    assert bench.stdout == "/run/job\n"
    assert "Read-only file system" in bench.stderr
    assert (bench.folder / "kept").read_text() == "kept\n"
    assert not Path(f"/tmp/{name}").exists()


def test_what_a_job_leaves_cannot_hold_up_or_mislead_its_runner(
    bench: Bench, tmp_path: Path
) -> None:
    """Links, FIFOs and devices in the place of files that the runner reads."""
    secret = tmp_path / "secret"
    secret.write_text("private")
    script = (
        f"ln -s {secret} link; mkfifo fifo; rm console stdout; ln -s /dev/zero console\n"
        "mkfifo stdout; mkdir -p nodes/a; mkfifo nodes/a/x.log; echo kept > nodes/a/y.log\n"
        "rm stderr; ln -s /dev/zero stderr; ln -s /dev/zero guest.profile; chmod 0 nodes/a nodes"
    )
    result = bench.run("sh", "-c", script)
    assert (result.exit_status, result.console) == (0, "")
    left = sorted(str(path.relative_to(bench.folder)) for path in bench.folder.rglob("*"))
    assert left == ["nodes", "nodes/a", "nodes/a/y.log"]


def test_the_hosts_environment_stays_out(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_HOST", "1")
    bench.run("env")
    assert "SECRET_OF_THE_HOST" not in bench.stdout


def test_a_guest_has_the_images_python_and_its_packages(bench: Bench) -> None:
    program = (
        "import sys, trio, netfilterqueue; trio.run(trio.sleep, 1); print(sys.version_info[:2])"
    )
    result = bench.run("python3", "-c", program)
    assert (result.exit_status, bench.stderr) == (0, "")
    assert bench.stdout == "(3, 13)\n"


def test_a_seed_decides_everything(bench: Bench) -> None:
    script = (
        "od -An -tx8 -N 32 /dev/urandom; ip link add type veth; ip link; ls -l /tmp; date -Ins\n"
        "cat /proc/self/maps /proc/uptime /proc/meminfo"
    )
    printed = []
    for seed in (5, 5, 2**64 - 1):
        assert bench.run("sh", "-c", script, seed=seed).exit_status == 0
        printed.append(bench.stdout)
    assert printed[0] == printed[1] != printed[2]


def test_a_host_with_system_call_notifications_makes_no_difference(
    bench: Bench, tmp_path: Path
) -> None:
    """As some containers are watched: their guests go by ptrace, which is slower."""
    watched = tmp_path / "linux"
    watched.write_text(WATCHED.format(python=sys.executable, linux=bench.machine.kernel.path))
    watched.chmod(0o755)
    program = "import threading, time; threading.Thread(target=time.sleep, args=(1,)).start()"
    # The kernel is started by a program of the host.
    system = [
        Path(place) for place in ("/bin", "/lib", "/lib64", "/usr", sys.prefix, sys.base_prefix)
    ]
    options = GuestOptions(readable=[bench.machine.kernel.path, *system])
    runs = []
    for kernel in (bench.machine.kernel, replace(bench.machine.kernel, path=watched)):
        machine = replace(bench.machine, kernel=kernel)
        result = replace(bench, machine=machine).run(
            "python3", "-I", "-S", "-c", program, options=options
        )
        runs.append((result.exit_status, result.virtual_s, result.counts))
    assert runs[0] == runs[1]
    assert runs[0][0] == 0


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_an_impossible_seed_is_refused(bench: Bench, seed: int) -> None:
    with pytest.raises(ValueError, match="seed"):
        bench.run("true", seed=seed)


def test_a_hang_ends_at_its_limit_and_leaves_nothing(bench: Bench) -> None:
    before = set(Path("/tmp").glob("vt-*"))
    started_s = time.monotonic()
    with pytest.raises(GuestError, match=r"did not end within its 1 s") as error:
        bench.run("sh", "-c", "echo last words >&2; while :; do :; done", wall_limit_s=1.0)
    assert time.monotonic() - started_s < 2
    assert "last words" in str(error.value)
    assert "Linux version" in (bench.folder / "console").read_text()
    assert len(bench.guests) > 3  # the launcher, the kernel, a process of a task
    assert_they_end(bench.guests)
    # another run may have begun meanwhile, but not with this folder
    after = set(Path("/tmp").glob("vt-*/job")) - {home / "job" for home in before}
    assert bench.folder not in {job.resolve() for job in after}


def test_the_death_of_init_is_named_with_the_end_of_the_console(bench: Bench) -> None:
    mortal = replace(bench.machine, init=Path("/bin/true"))
    with pytest.raises(GuestError, match=r"panicked .*Attempted to kill init") as error:
        replace(bench, machine=mortal).run("true")
    assert "--- end of its console" in str(error.value)


def test_waiting_for_ever_ends_at_the_virtual_limit(bench: Bench) -> None:
    async def main() -> GuestResult:
        return await run_guest(
            bench.machine,
            ["sh", "-c", "echo waiting >&2; exec sleep infinity"],
            bench.folder,
            seed=1,
            cpu=bench.cpu,
            wall_limit_s=WALL_LIMIT_S,
            options=GuestOptions(virtual_limit_s=600),
        )

    started_s = time.monotonic()
    with pytest.raises(GuestError, match="limit of virtual time") as error:
        trio.run(main)
    assert "waiting" in str(error.value)
    assert time.monotonic() - started_s < 2


def test_a_file_that_is_no_kernel_is_an_error(bench: Bench, tmp_path: Path) -> None:
    kernel = replace(bench.machine.kernel, path=tmp_path / "no kernel")
    with pytest.raises(GuestError, match="no kernel"):
        replace(bench, machine=replace(bench.machine, kernel=kernel)).run("true")


def test_cancellation_kills_at_once_and_leaves_nothing(bench: Bench) -> None:
    async def main() -> None:
        with trio.move_on_after(0.5) as scope:
            await bench.run_async(["sh", "-c", "sleep 5 & while :; do :; done"])
        assert scope.cancelled_caught

    trio.run(main)
    assert len(bench.guests) > 3
    assert_they_end(bench.guests)
    left = sorted(path.name for path in bench.folder.iterdir())
    assert left == ["console", "stderr", "stdout"]


def test_a_killed_runner_takes_its_guests_along(bench: Bench) -> None:
    program = (
        "import sys, trio; from pathlib import Path\n"
        "from testbed.guest.kernel import builder, guest\n"
        "linux, programs_init, root, init, folder = map(Path, sys.argv[1:])\n"
        "machine = guest.Machine(builder.Kernel(linux, programs_init, '', ''), root, init)\n"
        "async def main():\n"
        "    await guest.run_guest(machine, ['sh', '-c', 'while :; do :; done'], folder,\n"
        "                          seed=1, cpu=None, wall_limit_s=60)\n"
        "trio.run(main)\n"
    )
    machine = bench.machine
    runner = subprocess.Popen(
        [
            sys.executable,
            "-c",
            program,
            machine.kernel.path,
            machine.kernel.init,
            machine.root,
            machine.init,
            bench.folder,
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
    )
    running: list[int] = []
    until_s = time.monotonic() + WALL_LIMIT_S
    # The runner, the launcher and its other half, the kernel, and a process of a task.
    while len(running) < 5 and runner.poll() is None and time.monotonic() < until_s:
        running = list(descendants(runner.pid))
    runner.kill()
    runner.wait()
    assert len(running) > 4, "the runner ended before its guest began"
    assert_they_end(running)


def test_memory_goes_to_disk_where_shared_memory_is_too_small(tmp_path: Path) -> None:
    assert memory_folder(2**40, tmp_path) == tmp_path


def test_what_a_killed_runner_left_is_swept_away_later(bench: Bench) -> None:
    old, fresh, held = (Path(tempfile.mkdtemp(prefix="vt-", dir="/tmp")) for _ in range(3))
    lock = os.open(held, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for home in (old, held):
            (home / "job").symlink_to(bench.folder)
            os.utime(home, (1, 1))
        assert bench.run("true").exit_status == 0
        assert [home.exists() for home in (old, fresh, held)] == [False, True, True]
    finally:
        os.close(lock)
        for home in (old, fresh, held):
            shutil.rmtree(home, ignore_errors=True)


def test_a_folder_is_shown_at_another_place(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "word").write_text("here")

    async def boot() -> None:
        command = ["sh", "-c", "cat /run/a/b/word; touch /run/a/b/new"]
        mounts = {Path("/run/a/b"): tmp_path / "code"}
        await run_guest(
            bench.machine,
            command,
            bench.folder,
            seed=1,
            cpu=bench.cpu,
            wall_limit_s=WALL_LIMIT_S,
            options=GuestOptions(mounts=mounts),
        )

    trio.run(boot)
    assert bench.stdout == "here"
    assert "Read-only file system" in bench.stderr
