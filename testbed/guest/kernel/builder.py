"""Builds the guest kernel (User Mode Linux) from its source and our recipe.

The steps are: unpack what is needed of the source, apply our patches, configure, compile, strip,
and store the result in the user's cache under a key of source and recipe (`cache`). All steps run
in a tree of the lab image, at the same path on every host, and all tools are the image's; so equal
recipes and locks give equal kernels.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from testbed.guest.image.lock import KERNEL
from testbed.guest.image.tree import our_image
from testbed.guest.kernel.cache import (
    LAUNCHER,
    Kernel,
    Recipe,
    cached_kernel,
    locked_cache,
    our_recipe,
    read_entry,
    same_linux,
    store,
)
from testbed.guest.kernel.source import (
    LOCKED_SOURCE,
    TESTED,
    KernelBuildError,
    KernelSource,
    find_source,
)
from testbed.guest.kernel.workshop import RECIPE, WORK, Workshop

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
        tools = our_image().tree([KERNEL], report=lambda what: progress(what, 0.0))
        with build_folder(cache) as folder:
            shop = Workshop(tools, folder, recipe.init_source.parent, log)
            for program, c_file in (
                ("init", recipe.init_source),
                (LAUNCHER, recipe.launcher_source),
            ):
                _compile_program(shop, program, c_file)
            if (old := same_linux(recipe.linux_key(found))) is not None:
                linux, version = old.path, old.version
            else:
                linux, version = _build_linux(found, recipe, shop, progress)
            return store(linux, folder, version=version, recipe=recipe, source=found)


def _build_linux(
    source: KernelSource, recipe: Recipe, shop: Workshop, progress: Progress
) -> tuple[Path, str]:
    """Build the kernel itself; return the stripped binary and its version."""
    tree = _extract(source, shop, progress)
    version = _version(tree)
    _patch(shop, tree, recipe, version, progress)
    _configure(shop, tree, recipe, progress)
    _compile(shop, tree, progress)
    progress("strip", 0.0)
    shop.run("strip", "-o", "linux.stripped", f"{tree.name}/linux")
    progress("strip", 1.0)
    return shop.folder / "linux.stripped", version


def _compile_program(shop: Workshop, name: str, source: Path) -> None:
    shop.run("gcc", "-static", "-Os", "-s", "-o", name, str(RECIPE / source.name))


def check_machine(machine: str = platform.machine()) -> None:
    """Check that a guest kernel can be built and run on this machine.

    Raises:
        KernelBuildError: It cannot.
    """
    if machine != "x86_64":
        raise KernelBuildError(
            f"the guest kernel exists for x86_64 only, this is {machine}: use --kernel host"
        )


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


def _extract(source: KernelSource, shop: Workshop, progress: Progress) -> Path:
    """Unpack or copy the needed part of the source; return the top folder of the tree."""
    progress("extract", 0.0)
    path = source.path or shop.tools / LOCKED_SOURCE
    excludes = [f"--exclude={pattern}" for pattern in _NOT_NEEDED]
    unpack = ["tar", "-x", "--no-same-owner", "-f", "-", *excludes]
    if source.is_tree:
        pack = ["tar", "-c", "-C", str(path.parent), *excludes, path.name]
        with subprocess.Popen(pack, stdout=subprocess.PIPE) as packer:
            command = shop.command(*unpack)
            done = subprocess.run(command, stdin=packer.stdout, capture_output=True, check=False)
        failed, said = bool(done.returncode or packer.returncode), done.stderr
    else:
        unpack += [source.tar_option] if source.tar_option else []
        failed, said = _unpack(shop.command(*unpack), path, progress)
    if failed:
        raise KernelBuildError(f"cannot unpack {path}: {said.decode('utf-8', 'replace').strip()}")
    tops = [makefile.parent for makefile in shop.folder.glob("*/Makefile")]
    if len(tops) != 1:
        raise KernelBuildError(f"{path} does not hold one Linux kernel's source")
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


def _patch(shop: Workshop, tree: Path, recipe: Recipe, version: str, progress: Progress) -> None:
    for number, path in enumerate(recipe.patches):
        progress("patch", number / len(recipe.patches))
        place = str(RECIPE / path.relative_to(shop.recipe))
        words = ("patch", "-p1", "--fuzz=0", "--batch", "--forward", "-i", place)
        command = shop.command(*words, cwd=WORK / tree.name)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise KernelBuildError(
                f"{path.name} does not apply to Linux {version}; the patches are made for "
                f"{TESTED}: name that as the source, or none. "
                f"patch said:\n{done.stdout[-1000:]}{done.stderr[-1000:]}"
            )
    progress("patch", 1.0)


def _configure(shop: Workshop, tree: Path, recipe: Recipe, progress: Progress) -> None:
    progress("configure", 0.0)
    wanted = recipe.wanted_options()
    (tree / "testbed.config").write_text("\n".join(wanted) + "\n", "utf-8")
    for _ in _make(shop, tree, "KCONFIG_ALLCONFIG=testbed.config", "allnoconfig"):
        pass
    taken = (tree / ".config").read_text("utf-8").splitlines()
    if refused := [line for line in wanted if line not in taken]:
        raise KernelBuildError(
            f"this kernel's configuration does not accept {', '.join(refused)}; the options are "
            f"made for {TESTED}"
        )
    progress("configure", 1.0)


def _compile(shop: Workshop, tree: Path, progress: Progress) -> None:
    progress("compile", 0.0)
    count = 0
    for line in _make(shop, tree, f"-j{len(os.sched_getaffinity(0))}", "linux"):
        if line.startswith("  CC "):
            count += 1
            progress("compile", min(count / _OBJECTS, 0.99))
    progress("compile", 1.0)


def _make(shop: Workshop, tree: Path, *words: str) -> Iterator[str]:
    return shop.lines("make", "ARCH=um", "LOCALVERSION=", *words, cwd=WORK / tree.name)
