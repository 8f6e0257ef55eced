"""Measures what things cost in a guest, in wall time, and prints a table; decides nothing.

Run it as `python -m testbed.kernel.measure [LINUX]` on a machine with nothing else to do.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import trio

from testbed.kernel.build import Kernel, cached_kernel
from testbed.kernel.guest import run_guest

_RUNS = 5
_PYTHON = (sys.executable, "-I", "-S", "-c", "pass")
_TRIO = (sys.executable, "-c", "import trio")

# What is measured, how often the job does it, and the job.
_COSTS: Sequence[tuple[str, int, Sequence[str]]] = (
    ("system call", 20_000, ("./costs", "syscalls", "20000")),
    ("page written first", 16_384, ("./costs", "pages", "16384")),
    ("fork, exec, exit", 50, ("./costs", "execs", "50")),
    ("python -I -S -c pass", 1, _PYTHON),
    ("python -c 'import trio'", 1, _TRIO),
    ("sleep 60", 1, ("sleep", "60")),
)


async def measure(kernel: Kernel, folder: Path, argv: Sequence[str]) -> float:
    """Return the least wall time in seconds of some guests that do this and nothing else."""
    cpu = max(os.sched_getaffinity(0))
    times_s = []
    for _ in range(_RUNS):
        result = await run_guest(kernel, argv, folder, seed=1, cpu=cpu, wall_limit_s=60)
        if result.exit_status:
            raise SystemExit(f"{argv} failed: {(folder / 'stderr').read_text()}")
        times_s.append(result.wall_s)
    return min(times_s)


async def main() -> None:
    """Measure the cached kernel, or the one named on the command line with the cached init."""
    kernel = cached_kernel()
    if kernel is None:
        raise SystemExit("there is no guest kernel yet: build it with `testbed kernel build`")
    if len(sys.argv) > 1:
        kernel = replace(kernel, path=Path(sys.argv[1]))
    source = Path(__file__).parent / "programs" / "costs.c"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build = ["gcc", "-O1", "-static", "-o", str(folder / "costs"), str(source)]
        await trio.run_process(build)
        empty_s = await measure(kernel, folder, ["./costs", "syscalls", "0"])
        print(f"{'boot to power-off':28} {empty_s * 1e3:9.1f} ms")
        for what, count, argv in _COSTS:
            each_s = (await measure(kernel, folder, argv) - empty_s) / count
            print(f"{what:28} {each_s * 1e3:9.4f} ms")


if __name__ == "__main__":
    trio.run(main)
