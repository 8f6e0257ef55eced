"""Makes the trees that guests have as their roots, from the files of the lock.

Each file of the lock is unpacked once into a folder of the store, named by its hash. A tree is made
for a set of groups: it links to the files of their packages, so that a second tree takes little
room, and adds what packages' scripts would have made (the links of a merged /usr, compiled modules,
the loader's cache) and our own `/etc`. A guest sees the tree of what its cell needs and nothing
else, whatever was fetched for other cells.

Folders of the store and trees are sealed (`seals`). The first use of a tree in a process checks it,
and one that is damaged is made again, from packages that are fetched again if need be.

No program of the host takes part, and nothing needs root: the image's own programs compile its
modules and write its loader's cache, started by its own loader.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from testbed.guest.image import seals, upkeep
from testbed.guest.image.archives import MERGED, SITE, settle, unpack_package, unpack_wheel
from testbed.guest.image.etc import write_etc
from testbed.guest.image.lock import BASE, ImageError, Lock, LockedFile, read_lock, short_hash
from testbed.guest.image.mirror import fetch
from testbed.guest.user_cache import user_cache

PYTHON = Path("/usr/bin/python3.13")
"""The interpreter in a guest."""
INIT = Path("/usr/lib/testbed/init")
"""Where a tree has a guest's first program."""
_RECIPE = "1"
"""Change this when the steps below change in a way that alters trees."""
_LOADER = "usr/lib64/ld-linux-x86-64.so.2"
_LIBRARIES = "usr/lib/x86_64-linux-gnu"
_FOLDERS = (
    *("dev", "proc", "root", "run", "sys", "tmp", "usr/local/bin", "usr/local/sbin", "var/lib"),
    *("var/log", "var/tmp"),
)
"""What every tree has: mount points, and folders that programs expect."""
_ALTERNATIVES = {"usr/bin/awk": "mawk"}
"""The links that update-alternatives(1) would make, where there is a program for them."""
_LINKS = {**{name: f"usr/{name}" for name in MERGED}, "var/run": "/run", "var/lock": "/run/lock"}
_COMPILED = ("usr/lib/python3.13", str(SITE))
"""The folders of modules that are compiled."""
_COMPILE = (
    "import compileall, py_compile, sys; [compileall.compile_dir(folder, quiet=2,"
    " stripdir=sys.argv[1], prependdir='/', limit_sl_dest=sys.argv[1], invalidation_mode="
    "py_compile.PycInvalidationMode.UNCHECKED_HASH) for folder in sys.argv[2:]]"
)
"""A link to an absolute path, as a package has one, would lead to a file of the host."""

Report = Callable[[str], object]
"""Called with what is being done, such as `fetched tor`."""

_HELD: dict[Path, int | None] = {}
"""The trees that this process has checked and uses, with what keeps them from being swept away."""
_KEPT_S = 7 * 86400
"""What belongs to no package of the lock and has not been used for this long is removed (s)."""


def _silent(_what: str) -> None:
    pass


@dataclass(frozen=True)
class Image:
    """A lock, and the folder of the user's cache that has what was made of it."""

    lock: Lock
    folder: Path

    @property
    def hash(self) -> str:
        """A hash (hexadecimal) of all that determines what guests find in their trees."""
        files = sorted(f"{file.name} {file.sha256}" for file in self.lock.files.values())
        groups = sorted(f"{name} {' '.join(files)}" for name, files in self.lock.groups.items())
        return short_hash(_RECIPE, *files, *groups)

    def tree(
        self, groups: Iterable[str] = (), init: Path | None = None, report: Report = _silent
    ) -> Path:
        """Return the tree of the base and some groups; it is made if it is not there yet.

        With `init`, a guest's first program, the tree has that at `INIT`.

        Raises:
            ImageError: It cannot be made.
        """
        files = self.lock.files_of({BASE, *groups})
        program = b"" if init is None else init.read_bytes()
        made_of = (*(file.sha256 for file in files), hashlib.sha256(program).hexdigest())
        key = short_hash(_RECIPE, *made_of)
        tree = self.folder / "trees" / key
        while tree not in _HELD:
            if not seals.is_sound(tree):
                self._mend(tree, files, program, report)
            held = seals.hold(tree)
            if tree.is_dir():  # nobody has swept it away meanwhile
                _HELD[tree] = held
                for file in files:
                    seals.touch(self._place(file))
        return tree

    def _mend(self, tree: Path, files: Sequence[LockedFile], init: bytes, report: Report) -> None:
        """Make a tree that is not there or is damaged.

        Raises:
            ImageError: It cannot be made.
        """
        with self._locked():
            if seals.is_sound(tree):  # another process was faster
                return
            if tree.is_dir():
                report("a tree is damaged: reads its packages")
                for place in (*map(self._place, files), self._compiled_place()):
                    if place.is_dir() and seals.damage(place):
                        seals.remove(place)
            self._make(tree, files, init, report)
            upkeep.sweep(self.folder, self.kept(), unused_s=_KEPT_S)

    def missing(self, groups: Iterable[str]) -> list[LockedFile]:
        """Return the files of the base and some groups that are not in the cache yet."""
        return [file for file in self.lock.files_of({BASE, *groups}) if not self._kept(file)]

    def kept(self) -> list[Path]:
        """Return the entries of the cache that belong to this image, but for its trees."""
        places = [*map(self._place, self.lock.files.values()), self._compiled_place()]
        return [place for place in places if place.is_dir()]

    def host_link(self, tree: Path) -> Path:
        """Return a link to the tree of the host's part, by which `lab` finds it."""
        digest = hashlib.sha256(self.lock.to_toml().encode()).hexdigest()
        link = self.folder / f"host-{digest[:20]}"
        link.unlink(missing_ok=True)
        link.symlink_to(tree.relative_to(self.folder))
        return link

    def sweep(self) -> None:
        """Remove what neither a package of the lock nor a process at work needs.

        Trees that are not in use are removed, too: the next run that needs one makes it again.

        Raises:
            ImageError: The cache cannot be written.
        """
        with self._locked():
            upkeep.sweep(self.folder, self.kept(), unused_s=0.0)

    def verify(self) -> list[str]:
        """Read all that the cache has of any image, remove what is damaged, and say what that was.

        Raises:
            ImageError: The cache cannot be written.
        """
        with self._locked():
            return upkeep.repair(self.folder)

    def _place(self, file: LockedFile) -> Path:
        return self.folder / "store" / file.sha256[:20]

    def _kept(self, file: LockedFile) -> bool:
        return self._place(file).is_dir()

    def _make(self, tree: Path, files: Sequence[LockedFile], init: bytes, report: Report) -> None:
        self._unpack([file for file in files if not seals.is_sound(self._place(file))], report)
        compiled = self._compiled(report)
        report("makes a tree")
        with new_folder(tree) as fresh:
            lay_out(fresh, [*map(self._place, files), compiled])
            if init:
                program = fresh / INIT.relative_to("/")
                program.parent.mkdir()
                program.write_bytes(init)
                program.chmod(0o755)
            write_loaders_cache(fresh)
            settle(fresh)

    def _unpack(self, files: Sequence[LockedFile], report: Report) -> None:
        (self.folder / "store").mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="new-", dir=self.folder / "store") as scratch:
            fetched = fetch(files, Path(scratch), lambda file: report(f"fetched {file.name}"))
            for file, archive in fetched:
                with new_folder(self._place(file)) as fresh:
                    (unpack_wheel if file.is_wheel else unpack_package)(archive, fresh)
                archive.unlink()

    def _compiled_place(self) -> Path:
        files = self.lock.files_of([BASE])
        key = short_hash(_RECIPE, "compiled", *(file.sha256 for file in files))
        return self.folder / "store" / key

    def _compiled(self, report: Report) -> Path:
        """Return the folder with the compiled modules of the base, made if it is not there yet."""
        place = self._compiled_place()
        if seals.is_sound(place):
            return place
        report("compiles Python's modules")
        files = self.lock.files_of([BASE])
        with tempfile.TemporaryDirectory(prefix="new-", dir=self.folder / "store") as scratch:
            base = Path(scratch)
            lay_out(base, [self._place(file) for file in files])
            compile_modules(base, base, [base / folder for folder in _COMPILED])
            with new_folder(place) as fresh:
                for caches in base.rglob("__pycache__"):
                    target = fresh / caches.relative_to(base)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    caches.rename(target)
                settle(fresh)
        return place

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes from making anything; remove what interrupted ones left.

        Raises:
            ImageError: The cache cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / "lock").open("wb")
        except OSError as error:
            raise ImageError(
                f"a part of the lab image is missing or damaged, and {self.folder} cannot be "
                f"written ({error.strerror}): make it writable, or set XDG_CACHE_HOME to a folder "
                "that is"
            ) from None
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for stale in self.folder.glob("*/new-*"):
                seals.remove(stale)
            yield


def our_image() -> Image:
    """Return the image of our lock file, in the cache that all of a user's checkouts share."""
    return Image(read_lock(), user_cache() / "image")


def run_python(tree: Path, words: Sequence[str], environment: Mapping[str, str] = {}) -> None:
    """Run a tree's Python on the host; nothing of the host's environment reaches it.

    Raises:
        ImageError: It failed.
    """
    loader = [str(tree / _LOADER), "--library-path", str(tree / _LIBRARIES)]
    python = [*loader, str(tree / PYTHON.relative_to("/")), *words]
    # Without a fixed hash seed equal code would compile to different bytes: a frozenset among a
    # module's constants is marshalled in the order of its elements' hashes.
    home = {"PYTHONHOME": str(tree / "usr"), "PYTHONHASHSEED": "0"}
    _run(python, {**home, **environment})


def compile_modules(python: Path, base: Path, folders: Iterable[Path]) -> None:
    """Compile the modules in folders of `base` by the Python of a tree, to `__pycache__`.

    What is compiled depends on nothing outside of `base`.

    Raises:
        ImageError: It failed.
    """
    run_python(python, ["-SBc", _COMPILE, str(base), *map(str, folders)])


def write_loaders_cache(tree: Path) -> None:
    """Write the loader's cache of a tree, by the tree's own ldconfig.

    Raises:
        ImageError: It failed.
    """
    # It is a static program, and works on a tree without being root there.
    _run([str(tree / "usr/sbin/ldconfig"), "-X", "-r", str(tree)], {})
    shutil.rmtree(tree / "var/cache/ldconfig", ignore_errors=True)


def _run(command: Sequence[str], environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise ImageError(f"{command[0]} of the lab image failed ({done.returncode}): {said}")


@contextmanager
def new_folder(place: Path) -> Iterator[Path]:
    """Yield an empty folder, which becomes `place` at the end, and is sealed."""
    place.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix="new-", dir=place.parent))
    try:
        yield fresh
        fresh.chmod(0o755)
        seals.remove(place)
        seals.seal(place, fresh)
        fresh.rename(place)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def lay_out(tree: Path, parts: Iterable[Path]) -> None:
    """Make a tree of the files of unpacked packages, as hard links to them."""
    for name in (*(f"usr/{name}" for name in MERGED), *_FOLDERS):
        (tree / name).mkdir(parents=True, exist_ok=True)
    for name, target in _LINKS.items():
        (tree / name).symlink_to(target)
    for part in parts:
        _link(part, tree)
    for name, program in _ALTERNATIVES.items():
        link = tree / name
        if link.with_name(program).exists() and not link.exists():
            link.symlink_to(program)
    write_etc(tree)


def _link(part: Path, tree: Path) -> None:
    for place, folders, files in os.walk(part):
        inside = tree / Path(place).relative_to(part)
        for name in folders:
            if not (Path(place) / name).is_symlink():
                (inside / name).mkdir(exist_ok=True)
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        for name in (*files, *links):
            try:
                os.link(Path(place) / name, inside / name, follow_symlinks=False)
            except FileExistsError:
                raise ImageError(
                    f"two packages of the lab image have {(inside / name).relative_to(tree)}"
                ) from None
