"""Jobs in a booted guest: what passes through, what cannot get out, and what a death looks like."""

import os
import sys
from dataclasses import astuple, replace
from pathlib import Path

import pytest
import trio

from testbed.guest.image.tree import PYTHON
from testbed.guest.kernel import guest
from testbed.guest.kernel.guest import (
    GuestError,
    GuestOptions,
    run_guest,
)
from testbed.guest.kernel.homes import memory_folder
from testbed.guest.kernel.job import PROFILE_FILE, Counts
from testbed.guest.kernel.workshop import compile_program
from testbed.tools.syscall_profile import read_profile
from tests.kernel.guest_bench import WALL_LIMIT_S, Bench

pytestmark = pytest.mark.guest

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


def test_a_file_that_is_no_kernel_is_an_error(bench: Bench, tmp_path: Path) -> None:
    kernel = replace(bench.machine.kernel, path=tmp_path / "no kernel")
    with pytest.raises(GuestError, match="no kernel"):
        replace(bench, machine=replace(bench.machine, kernel=kernel)).run("true")


def test_memory_goes_to_disk_where_shared_memory_is_too_small(tmp_path: Path) -> None:
    assert memory_folder(2**40, tmp_path) == tmp_path


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
