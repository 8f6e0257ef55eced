"""Checks that a built guest kernel has the properties on which the testbed relies.

Each check boots guests that run a small script and compares the output with what virtual time
requires: sleeps and network delays of exact length, equal runs for equal seeds, and so on.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from testbed.guest.kernel.builder import Kernel
from testbed.guest.kernel.guest import (
    SYSCALL_NS,
    GuestError,
    GuestOptions,
    GuestResult,
    Machine,
    run_guest,
)
from testbed.guest.kernel.source import KernelBuildError
from testbed.guest.kernel.workshop import compile_program
from testbed.guest.machine import machine_with

# Called with the name of each check and its state ("running", then "ok" or "failed").
Report = Callable[[str, str], None]

_WALL_LIMIT_S = 60.0
_PROGRAMS = Path(__file__).parent / "programs"
_GROUPS = ("iproute2", "iputils-ping")
"""What the scripts below need of the lab image: ip, tc and ping."""

# Two network namespaces, with 50 ms of delay in each direction. The MAC addresses are fixed, as
# they would otherwise come from the seed.
_LINK = """\
set -e
ip netns add a; ip netns add b
ip link add x netns a type veth peer name y netns b
ip -n a addr add 10.0.0.1/24 dev x; ip -n b addr add 10.0.0.2/24 dev y
ip -n a link set x up; ip -n b link set y up
tc -n a qdisc add dev x root netem delay 50ms {noise}
tc -n b qdisc add dev y root netem delay 50ms {noise}
"""
_PING = _LINK.format(noise="") + (
    "ip netns exec a ping -c 1 10.0.0.2 >/dev/null\n"  # the first ping waits for ARP
    "ip netns exec a ping -i 0.2 -c 10 10.0.0.2\n"
)
_NOISE = _LINK.format(noise="10ms loss 10%") + (
    "ip -n a link show x\n"
    "ip netns exec a ping -D -i 0.2 -c 100 10.0.0.2 || true\n"
    "od -An -tx8 -N 64 /dev/urandom\n"
    "cat /proc/sys/kernel/random/uuid\n"
    "od -An -tx8 -N 16 /proc/self/auxv; cat /proc/self/maps; date -Ins; cat /proc/meminfo\n"
)
_SCRATCH_AND_ROOT = (
    "for folder in / /etc /usr/bin /root; do"
    " ! touch $folder/testbed-was-here 2>/dev/null || exit 1; done\n"
    "touch /tmp/x /run/x /var/tmp/x /dev/shm/x /run/job/x\n"
)


@dataclass(frozen=True)
class Check:
    """The outcome of one check: what was observed (`detail`), and how long it took (wall time)."""

    name: str
    ok: bool
    detail: str
    wall_s: float


@dataclass(frozen=True)
class _Bench:
    """A kernel to check, with the tools for it, and the processor to check it on."""

    machine: Machine
    cpu: int

    async def run(
        self, script: str, folder: Path, *, seed: int = 1, syscall_ns: int = SYSCALL_NS
    ) -> GuestResult:
        return await run_guest(
            self.machine,
            ["sh", "-c", script],
            folder,
            seed=seed,
            cpu=self.cpu,
            wall_limit_s=_WALL_LIMIT_S,
            options=GuestOptions(syscall_ns=syscall_ns),
        )

    async def output(self, script: str, *, seed: int = 1, syscall_ns: int = SYSCALL_NS) -> str:
        """Run a script that must succeed; return what it printed."""
        with _folder() as folder:
            result = await self.run(script, folder, seed=seed, syscall_ns=syscall_ns)
            printed = (folder / "stdout").read_text("utf-8", "replace")
            if result.exit_status:
                said = (folder / "stderr").read_text("utf-8", "replace")
                raise GuestError(f"the script failed ({result.exit_status}): {said or printed}")
        return printed


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="testbed-kernel-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def kernel_test(kernel: Kernel, report: Report = lambda _name, _state: None) -> list[Check]:
    """Run all checks, one after the other (some seconds), and return their outcomes.

    A failing check is a result, not an error, even if its guest fails.
    """
    bench = _Bench(machine_with(kernel, _GROUPS), cpu=max(os.sched_getaffinity(0)))
    done: list[Check] = []
    for name, check in _CHECKS.items():
        report(name, "running")
        started_s = time.monotonic()
        try:
            ok, detail = await check(bench)
        except (GuestError, KernelBuildError) as error:
            ok, detail = False, str(error)
        done.append(Check(name, ok, detail, time.monotonic() - started_s))
        report(name, "ok" if ok else "failed")
    return done


async def _sleeps(bench: _Bench) -> tuple[bool, str]:
    with _folder() as folder:
        result = await bench.run("exec sleep 60", folder)
    ok = result.exit_status == 0 and 60 <= result.virtual_s < 60.1 and result.wall_s < 1
    return ok, f"{result.virtual_s:.3f} s of virtual time in {result.wall_s:.3f} s"


async def _pings(bench: _Bench) -> tuple[bool, str]:
    # System calls must cost nothing here: they lie between ping's reading of the clock and its
    # packet, and would make the result 100.005 ms.
    printed = await bench.output(_PING, syscall_ns=0)
    found = re.search(r"10 received.*\nrtt \S+ = ([\d.]+)/([\d.]+)/([\d.]+)/", printed, re.DOTALL)
    if not found:
        return False, printed
    # Reading the clock takes 256 ns, which may be rounded up.
    ok = found.group(1) == found.group(2) == "100.000" and float(found.group(3)) <= 100.001
    return ok, f"round trips min {found.group(1)}, mean {found.group(2)}, max {found.group(3)} ms"


async def _repeats(bench: _Bench) -> tuple[bool, str]:
    first, second = await bench.output(_NOISE), await bench.output(_NOISE)
    other = await bench.output(_NOISE, seed=2)
    received = re.findall(r"(\d+) received", first + other)
    if first != second:
        return False, f"two runs with one seed differ: {_first_difference(first, second)}"
    if first == other:
        return False, "another seed gives the same run"
    return True, f"equal to the byte with one seed; received by seed: {', '.join(received)} of 100"


def _first_difference(first: str, second: str) -> str:
    pairs = zip(first.splitlines(), second.splitlines(), strict=False)
    return next((f"{a!r} and {b!r}" for a, b in pairs if a != b), "one is longer")


async def _clocks(bench: _Bench) -> tuple[bool, str]:
    printed = await _compiled(bench, "clocks")
    values = {name: int(value) for name, value in re.findall(r"(\w+) (\d+)", printed)}
    ok = (
        10**9 <= values.get("rdtsc", 0) < 10**9 + 10**6
        and 10**9 <= values.get("rdtscp", 0) < 10**9 + 10**6
        and abs(values.get("syscalls", 0) - 1000 * SYSCALL_NS) < 10 * SYSCALL_NS
        and values.get("memory") == values.get("free") == 0
        and values.get("yields", 0) > 0
        and values.get("polls", 0) > 1000  # most clock reads are not system calls
        and values.get("steps_back") == 0
    )
    return ok, ", ".join(printed.splitlines())


async def _vector_registers(bench: _Bench) -> tuple[bool, str]:
    printed = await _compiled(bench, "fpstate")
    ok = "ymm_lost 0 zmm_lost 0 frame_wrong 0" in printed
    lacks = [
        name for name, word in (("AVX-512", "avx512"), ("AMX", "amx")) if f"{word} no" in printed
    ]
    untried = f"; not tested, because this processor has none: {', '.join(lacks)}" if lacks else ""
    return ok, printed.strip() + untried


async def _traced(bench: _Bench) -> tuple[bool, str]:
    printed = await _compiled(bench, "traced")
    return printed == "stops 100 counted 100 steps 100 exit 77\n", printed.strip()


async def _tasks(bench: _Bench) -> tuple[bool, str]:
    printed = await _compiled(bench, "tasks")
    return printed == "threads 100 wrong 0\n", printed.strip()


async def _compiled(bench: _Bench, name: str) -> str:
    """Compile programs/NAME.c, run it in a guest, and return what it printed."""
    with _folder() as folder:
        source = _PROGRAMS / f"{name}.c"
        options = ("-O1", "-mavx", "-pthread")
        await trio.to_thread.run_sync(compile_program, source, folder / name, *options)
        result = await bench.run(f"exec ./{name}", folder)
        printed = (folder / "stdout").read_text("utf-8")
        return printed if result.exit_status == 0 else f"{printed} exit {result.exit_status}"


async def _root_is_read_only(bench: _Bench) -> tuple[bool, str]:
    with _folder() as folder:
        result = await bench.run(_SCRATCH_AND_ROOT, folder)
        ok = result.exit_status == 0 and (folder / "x").exists()
    return ok, "the root takes no files; scratch folders and the job's own do"


async def _leaves_nothing(bench: _Bench) -> tuple[bool, str]:
    """Kill a running guest that has several processes, and check that none of them is left."""
    # A loop without system calls takes no virtual time, so this guest never ends by itself.
    script = "sleep 9 & sleep 9 & : > ready; while :; do :; done"
    with _folder() as folder:
        for wall_s in (0.5, 2, 8, 32):
            with trio.move_on_after(wall_s):
                await bench.run(script, folder)
            if (folder / "ready").exists():
                left = _processes_of(bench.machine.kernel)
                return not left, f"processes left: {left or 'none'}"
    return False, "the guest did not get so far as to be killed"


def _processes_of(kernel: Kernel) -> list[int]:
    """Return the PIDs of this user's processes that run this kernel on behalf of this process."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().split(b"\0")
            parent = re.search(r"^PPid:\t(\d+)$", (process / "status").read_text(), re.MULTILINE)
        except OSError:
            continue
        ours = parent is not None and int(parent.group(1)) in (1, os.getpid())
        if ours and command[0] == os.fsencode(kernel.path):
            found.append(int(process.name))
    return found


_CHECKS: dict[str, Callable[[_Bench], Awaitable[tuple[bool, str]]]] = {
    "60 s of sleep take less than 1 s": _sleeps,
    "netem of 50 ms in each direction adds up to 100 ms": _pings,
    "a seed decides everything": _repeats,
    "clocks are virtual": _clocks,
    "vector registers survive": _vector_registers,
    "a traced process shows its registers": _traced,
    "threads, forks and signals work together": _tasks,
    "the root is read-only": _root_is_read_only,
    "a killed guest leaves nothing": _leaves_nothing,
}
