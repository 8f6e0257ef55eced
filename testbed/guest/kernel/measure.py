"""Measures the processor time of basic operations in a guest, and prints a table.

Run it as `python -m testbed.guest.kernel.measure [LINUX ...]` to measure the cached kernel, or to
compare several Linux binaries, which are run in turns. `LINUX:1` runs one without fault-around.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import trio

from testbed.guest.image.tree import PYTHON
from testbed.guest.kernel.builder import Kernel, cached_kernel
from testbed.guest.kernel.guest import FAULT_AROUND_PAGES, GuestOptions, run_guest
from testbed.guest.kernel.workshop import compile_program
from testbed.guest.machine import machine_with

_RUNS = 5
_PYTHON = (str(PYTHON), "-I", "-S", "-c", "pass")
_TRIO = (str(PYTHON), "-c", "import trio")

# What is measured, how often the job does it, and the job's command.
_COSTS: Sequence[tuple[str, int, Sequence[str]]] = (
    ("system call", 20_000, ("./costs", "syscalls", "20000")),
    ("page written first", 16_384, ("./costs", "pages", "16384")),
    ("fork, exec, exit", 50, ("./costs", "execs", "50")),
    ("python -I -S -c pass", 1, _PYTHON),
    ("python -c 'import trio'", 1, _TRIO),
    ("sleep 60", 1, ("sleep", "60")),
)


async def measure(
    kernels: Sequence[tuple[Kernel, int]], folder: Path, argv: Sequence[str]
) -> list[float]:
    """Return, for each kernel, the least processor time (s) of several guests that run `argv`.

    Each kernel comes with the number of pages that it brings in around a fault.
    """
    cpu = max(os.sched_getaffinity(0))
    times_s: list[list[float]] = [[] for _ in kernels]
    for _ in range(_RUNS):
        for (kernel, pages), found in zip(kernels, times_s, strict=True):
            options = GuestOptions(fault_around_pages=pages)
            result = await run_guest(
                machine_with(kernel),
                argv,
                folder,
                seed=1,
                cpu=cpu,
                wall_limit_s=120,
                options=options,
            )
            if result.exit_status:
                raise SystemExit(f"{argv} failed: {(folder / 'stderr').read_text()}")
            found.append(result.cpu_s)
    return [min(found) for found in times_s]


def chosen(kernel: Kernel, words: Sequence[str]) -> list[tuple[Kernel, int]]:
    """Return the kernels named on the command line, with the init of the cached kernel."""
    named = []
    for word in words or [str(kernel.path)]:
        path, _, pages = word.partition(":")
        named.append((replace(kernel, path=Path(path)), int(pages or FAULT_AROUND_PAGES)))
    return named


async def main() -> None:
    """Measure the cached kernel, or those named on the command line with the cached init."""
    cached = cached_kernel()
    if cached is None:
        raise SystemExit("there is no guest kernel yet: build it with `testbed kernel build`")
    kernels = chosen(cached, sys.argv[1:])
    source = Path(__file__).parent / "programs" / "costs.c"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        compile_program(source, folder / "costs", "-O1", "-static")
        empty_s = await measure(kernels, folder, ["./costs", "syscalls", "0"])
        print(f"{'boot to power-off':28}", *(f"{each * 1e3:9.4f} ms" for each in empty_s))
        for what, count, argv in _COSTS:
            whole_s = await measure(kernels, folder, argv)
            each_s = [(a - b) / count for a, b in zip(whole_s, empty_s, strict=True)]
            print(f"{what:28}", *(f"{each * 1e3:9.4f} ms" for each in each_s))


if __name__ == "__main__":
    trio.run(main)
