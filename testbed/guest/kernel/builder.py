"""Builds the guest kernel (User Mode Linux) from its source and our recipe.

The steps are: unpack what is needed of the source, apply our patches, configure, compile, strip,
and store the result in the user's cache under a key of source and recipe (`cache`). Only the
standard library is used, because this runs before the virtual environment is complete.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from testbed.guest.kernel.cache import (
    Kernel,
    Recipe,
    cached_kernel,
    locked_cache,
    our_recipe,
    read_entry,
    same_linux,
    store,
)
from testbed.guest.kernel.source import TESTED, KernelBuildError, KernelSource, find_source

__all__ = ["Kernel", "KernelBuildError", "Progress", "build_kernel", "cached_kernel"]

# Called with the stage ("waiting for another builder", "extract", "patch", "configure", "compile",
# "strip") and the share of it that is done, 0..1.
Progress = Callable[[str, float], None]

# Number of objects that a build compiles (measured); used only to report progress.
_OBJECTS = 756
_ROOM_BYTES = 800 << 20
_MEMORY_BYTES = 3_000 << 20
_COPY_BYTES = 4 << 20
_MEMINFO = Path("/proc/meminfo")

# Each program that the build needs, and the Debian and Ubuntu package that contains it.
_TOOLS: Mapping[str, str] = {
    "make": "make",
    "gcc": "gcc",
    "ld": "binutils",
    "flex": "flex",
    "bison": "bison",
    "bc": "bc",
    "patch": "patch",
    "tar": "tar",
    "xz": "xz-utils",
}

# Three quarters of the source files, needed neither to configure (Kconfig and Makefile files are)
# nor to compile for ARCH=um. In tar's patterns * also matches /, so each pattern names a folder
# below the one to be left out.
_NOT_NEEDED = (
    "*/Documentation/*.rst",
    "*/Documentation/*.txt",
    "*/Documentation/*.yaml",
    "*/Documentation/*.svg",
    "*/arch/[a-tv-w]*.[chS]",
    "*/arch/x86/kvm/*.[ch]",
    "*/drivers/[ad-mo-su-z]*/*.[chS]",
    "*/drivers/b[b-z]*/*.[ch]",
    "*/drivers/c[a-gi-z]*/*.[ch]",
    "*/drivers/net/ethernet/*.[ch]",
    "*/drivers/net/wireless/*.[ch]",
    "*/fs/[a-cf-gi-jl-moqt-z]*/*.[ch]",
    "*/fs/nfs*/*.[ch]",
    "*/fs/smb/*.[ch]",
    "*/rust/*.rs",
    "*/samples/*.[ch]",
    "*/security/*/*.[ch]",
    "*/sound/*.[ch]",
    "*/tools/perf",
    "*/tools/testing",
    "*.dts",
    "*.dtsi",
    "*.o",
    "*/.git",
)

# User names, host names and dates that would otherwise make equal builds differ.
_FIXED_ENV: Mapping[str, str] = {
    "LC_ALL": "C",
    "KBUILD_BUILD_TIMESTAMP": "Wed Aug 13 00:00:00 UTC 2025",
    "KBUILD_BUILD_USER": "testbed",
    "KBUILD_BUILD_HOST": "testbed",
    "KBUILD_BUILD_VERSION": "1",
}


def build_kernel(source: Path | None = None, *, progress: Progress) -> Kernel:
    """Return the guest kernel from the cache, or build it (some minutes) and store it there.

    `source` is a source tree or tar file; the default is the one that the distribution's package
    installed in /usr/src. A concurrent build and an interruption are both safe.

    Raises:
        KernelBuildError: The kernel could not be built; the message states cause and remedy.
    """
    check_machine()
    recipe = our_recipe()
    found = find_source(source)
    with locked_cache(lambda: progress("waiting for another builder", 0.0)) as cache:
        # Another builder may have built it while this one waited for the lock.
        if (kernel := read_entry(cache / recipe.key(found))) is not None:
            return kernel
        log = cache / "build.log"
        log.write_bytes(b"")
        with build_folder(cache) as work:
            init = _compile_init(recipe, work, log)
            if (old := same_linux(recipe.linux_key(found))) is not None:
                linux, version = old.path, old.version
            else:
                linux, version = _build_linux(found, recipe, work, log, progress)
            return store(linux, init, version=version, recipe=recipe, source=found)


def _build_linux(
    source: KernelSource, recipe: Recipe, work: Path, log: Path, progress: Progress
) -> tuple[Path, str]:
    """Build the kernel itself; return the stripped binary and its version."""
    tree = _extract(source, work, progress)
    version = _version(tree)
    _patch(tree, recipe, version, progress)
    _configure(tree, recipe, log, progress)
    _compile(tree, log, progress)
    progress("strip", 0.0)
    linux = work / "linux.stripped"
    _run(["strip", "-o", str(linux), str(tree / "linux")], log)
    progress("strip", 1.0)
    return linux, version


def _compile_init(recipe: Recipe, work: Path, log: Path) -> Path:
    init = work / "init"
    _run(["gcc", "-static", "-Os", "-s", "-o", str(init), str(recipe.init_source)], log)
    return init


def check_machine(
    *,
    machine: str = platform.machine(),
    which: Callable[[str], str | None] = shutil.which,
) -> None:
    """Check that a guest kernel can be built and run on this machine.

    Raises:
        KernelBuildError: It cannot be built here, or would not run.
    """
    if machine != "x86_64":
        raise KernelBuildError(
            f"the guest kernel exists for x86_64 only, this is {machine}: use --kernel host"
        )
    if missing := [package for tool, package in _TOOLS.items() if not which(tool)]:
        raise KernelBuildError(f"tools are missing to build the guest kernel: {_apt(missing)}")


def _apt(packages: Sequence[str]) -> str:
    return f"apt install {' '.join(packages)}"


@contextmanager
def build_folder(cache: Path) -> Iterator[Path]:
    """Yield a new folder for the build, removed at the end; also remove those of dead builds."""
    place = _build_place(cache)
    # The holder of this cache's lock owns all folders with this prefix, so the others are stale.
    # The prefix contains the cache's path, since builders with other caches hold other locks.
    owner = hashlib.sha256(os.fsencode(cache)).hexdigest()[:12]
    prefix = f"testbed-build-{os.getuid()}-{owner}-"
    for stale in place.glob(f"{prefix}*"):
        shutil.rmtree(stale, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _build_place(cache: Path) -> Path:
    """Return where to build: in memory if there is plenty, because there are 22,000 files."""
    memory = Path("/dev/shm")
    usable = memory.is_dir() and os.access(memory, os.W_OK | os.X_OK)
    if usable and not os.statvfs(memory).f_flag & os.ST_NOEXEC:
        free = re.search(r"^MemAvailable:\s+(\d+) kB$", _MEMINFO.read_text("utf-8"), re.MULTILINE)
        plenty = free is not None and int(free.group(1)) << 10 >= _MEMORY_BYTES
        if plenty and shutil.disk_usage(memory).free >= _ROOM_BYTES:
            return memory
    # kbuild does not accept a blank or a colon in its path.
    place = Path(tempfile.gettempdir()) if re.search(r"[\s:]", str(cache)) else cache
    free_bytes = shutil.disk_usage(place).free
    if free_bytes < _ROOM_BYTES:
        raise KernelBuildError(
            f"the build needs {_ROOM_BYTES >> 20} MB in {place}, which has {free_bytes >> 20}: "
            "make room, or set XDG_CACHE_HOME to another disk"
        )
    return place


def _extract(source: KernelSource, work: Path, progress: Progress) -> Path:
    """Unpack or copy the needed part of the source; return the top folder of the tree."""
    progress("extract", 0.0)
    excludes = [f"--exclude={pattern}" for pattern in _NOT_NEEDED]
    unpack = ["tar", "-x", "-f", "-", "-C", str(work), *excludes]
    if source.is_tree:
        pack = ["tar", "-c", "-C", str(source.path.parent), *excludes, source.path.name]
        with subprocess.Popen(pack, stdout=subprocess.PIPE) as packer:
            done = subprocess.run(unpack, stdin=packer.stdout, capture_output=True, check=False)
        failed, said = bool(done.returncode or packer.returncode), done.stderr
    else:
        unpack += [source.tar_option] if source.tar_option else []
        failed, said = _unpack(unpack, source.path, progress)
    if failed:
        raise KernelBuildError(
            f"cannot unpack {source.path}: {said.decode('utf-8', 'replace').strip()}; "
            "if it is damaged, reinstall its package (apt install --reinstall)"
        )
    tops = [path.parent for path in work.glob("*/Makefile")]
    if len(tops) != 1:
        raise KernelBuildError(f"{source.path} does not hold one Linux kernel's source")
    progress("extract", 1.0)
    return tops[0]


def _unpack(command: Sequence[str], tar_file: Path, progress: Progress) -> tuple[bool, bytes]:
    total_bytes = tar_file.stat().st_size or 1
    with (
        tar_file.open("rb") as packed,
        subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as tar,
    ):
        assert tar.stdin is not None
        # If tar fails it closes its end of the pipe; its own message then explains the failure.
        with suppress(BrokenPipeError):
            while block := packed.read(_COPY_BYTES):
                tar.stdin.write(block)
                progress("extract", packed.tell() / total_bytes)
        _, said = tar.communicate()
    return tar.returncode != 0, said


def _version(tree: Path) -> str:
    text = (tree / "Makefile").read_text("utf-8")
    numbers = [
        re.search(rf"^{name} = (\d+)$", text, re.MULTILINE)
        for name in ("VERSION", "PATCHLEVEL", "SUBLEVEL")
    ]
    return ".".join(number.group(1) for number in numbers if number)


def _patch(tree: Path, recipe: Recipe, version: str, progress: Progress) -> None:
    for number, path in enumerate(recipe.patches):
        progress("patch", number / len(recipe.patches))
        done = subprocess.run(
            ["patch", "-p1", "--fuzz=0", "--batch", "--forward", "-i", str(path)],
            cwd=tree,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise KernelBuildError(
                f"{path.name} does not apply to Linux {version}; the patches are made for "
                f"{TESTED}: install that, or name its source. patch said:\n{done.stdout[-1000:]}"
            )
    progress("patch", 1.0)


def _configure(tree: Path, recipe: Recipe, log: Path, progress: Progress) -> None:
    progress("configure", 0.0)
    wanted = recipe.wanted_options()
    (tree / "testbed.config").write_text("\n".join(wanted) + "\n", "utf-8")
    for _ in _make(tree, log, "KCONFIG_ALLCONFIG=testbed.config", "allnoconfig"):
        pass
    taken = (tree / ".config").read_text("utf-8").splitlines()
    if refused := [line for line in wanted if line not in taken]:
        raise KernelBuildError(
            f"this kernel's configuration does not accept {', '.join(refused)}; the options are "
            f"made for {TESTED}"
        )
    progress("configure", 1.0)


def _compile(tree: Path, log: Path, progress: Progress) -> None:
    progress("compile", 0.0)
    count = 0
    for line in _make(tree, log, f"-j{len(os.sched_getaffinity(0))}", "linux"):
        if line.startswith("  CC "):
            count += 1
            progress("compile", min(count / _OBJECTS, 0.99))
    progress("compile", 1.0)


def _run(command: Sequence[str], log: Path) -> None:
    for _ in _lines(command, Path.cwd(), log):
        pass


def _make(tree: Path, log: Path, *words: str) -> Iterator[str]:
    return _lines(["make", "ARCH=um", "LOCALVERSION=", *words], tree, log)


def _lines(command: Sequence[str], cwd: Path, log: Path) -> Iterator[str]:
    """Run a command, yield its lines of output as they come, and append them to the log.

    If the caller stops early, the command and everything that it started are killed.

    Raises:
        KernelBuildError: The command failed.
    """
    env = {"PATH": os.environ.get("PATH", os.defpath), **_FIXED_ENV}
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        with process.stdout, log.open("a", buffering=1, encoding="utf-8") as kept:
            for line in process.stdout:
                kept.write(line)
                yield line
        status = process.wait()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if status:
        said = log.read_text("utf-8", "replace")[-2000:]
        raise KernelBuildError(
            f"`{command[0]}` failed with exit status {status}; its output is in {log} "
            f"and ends with:\n{said}"
        )
