"""Boots the lab's Python in a guest: sets up imports from a bundle, then starts a program.

In a guest, finding and reading a module takes a dozen system calls, and compiling the methods that
attrs and dataclasses generate takes as long again. So all modules that cells import lie in a single
file with an index, the bundle, next to a file with the generated methods in compiled form
(`testbed.guest.bundle` writes both). Modules that are not in the bundle are imported as usual. This
module itself only imports what Python has already loaded when it starts.
"""

from __future__ import annotations

import gc
import marshal
import posix
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import ExtensionFileLoader
from itertools import count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import CodeType, ModuleType
    from typing import Any
else:
    ModuleType = type(sys)

FREE_COMM = "testbed-lab"
"""A task with this name takes no virtual time for what it does (kernel/patches, 0018)."""
BUNDLE, INDEX, GENERATED = "bundle", "bundle.index", "bundle.generated"
"""Names of the bundle's files, in the folder that holds the packages."""
_LAZY = {
    *("ast", "dis", "hmac", "idna", "inspect", "json", "locale", "platform", "shutil", "textwrap"),
    *("traceback", "urllib.parse", "attrs.converters", "attrs.filters", "attrs.setters"),
    "attrs.validators",
}
"""Modules that others import but cells seldom use; they are loaded on first use."""

_SCHEDULING = {"trio._channel", "trio._core._run", "trio._sync"}
"""The modules that decide which task runs next (`_InOrder`)."""
_NUMBERS = count(1)

_RNDRESEEDCRNG = 0x5207
"""From <linux/random.h>."""


class Bundle:
    """Finds and loads the modules in a folder's bundle (an importlib finder and loader)."""

    def __init__(self, folder: str) -> None:
        index = marshal.loads(_content(f"{folder}/{INDEX}"))
        self._modules: dict[str, tuple[bool, str, int, int]] = index["modules"]
        """By name: whether it is a package, its file, and offset and length of its code (bytes)."""
        self._extensions: dict[str, str] = index["extensions"]
        """The files of extension modules, by name."""
        self._generated: dict[str, CodeType] = marshal.loads(_content(f"{folder}/{GENERATED}"))
        """The compiled code of generated methods, by their source text."""
        self._file = posix.open(f"{folder}/{BUNDLE}", posix.O_RDONLY | posix.O_CLOEXEC)

    def find_spec(
        self, name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module; None if it is not in the bundle."""
        if (path := self._extensions.get(name)) is not None:
            spec = ModuleSpec(name, ExtensionFileLoader(name, path), origin=path)
            spec.has_location = True
            return spec
        if name not in self._modules:
            return None
        is_package, origin, _, _ = self._modules[name]
        loader: Any = self
        spec = ModuleSpec(name, loader, origin=origin, is_package=is_package)
        spec.has_location = True
        if is_package:
            spec.submodule_search_locations = [origin.rpartition("/")[0]]
        return spec

    def submodules(self, package: str) -> list[str]:
        """Return the names of a package's modules (`testbed.plugins`)."""
        found = (name.rpartition(".") for name in self._modules)
        return [name for parent, _, name in found if parent == package]

    def create_module(self, _spec: ModuleSpec) -> None:
        """Return None, so that Python creates the module."""

    def exec_module(self, module: ModuleType) -> None:
        """Run a module's code, now or (if it is in `_LAZY`) when it is first used."""
        if module.__name__ in _LAZY:
            module.__class__ = _Lazy
        else:
            self.load(module)

    def load(self, module: ModuleType) -> None:
        """Run a module's code."""
        name = module.__name__
        _, _, start, size = self._modules[name]
        # A global of a module shadows the builtin of the same name, here and below.
        if name in _SCHEDULING:
            vars(module).update(set=_InOrder, frozenset=_InOrder, id=_next_number)
        exec(marshal.loads(posix.pread(self._file, size, start)), vars(module))
        # Both modules compile generated methods from text; now they look up compiled code first.
        if name == "dataclasses":
            vars(module)["exec"] = self._exec
        elif name == "attr._make":
            vars(module)["compile"] = self._compile

    def _exec(self, text: str, *places: dict[str, Any]) -> None:
        exec(self._generated.get(text, text), *places)

    def _compile(self, text: str, *args: Any) -> CodeType:  # noqa: ANN401 - as the builtin
        found = self._generated.get(text)
        return compile(text, *args) if found is None else found


class _InOrder(dict[object, None]):
    """A set that is iterated in the order in which elements were added.

    trio keeps tasks and cancel scopes in sets, in the order of their hashes: of their addresses.
    These depend on everything that was imported before, and they would decide which of two tasks
    is cancelled or woken first.
    """

    add = dict.setdefault
    remove = dict.pop

    def __init__(self, elements: Iterable[object] = ()) -> None:
        super().__init__(dict.fromkeys(elements))

    def discard(self, element: object) -> None:
        """Remove an element, if it is there."""
        self.pop(element, None)


def _next_number(_: object) -> int:
    """Return a higher number at each call, in place of an object's address.

    trio orders by it what happens at the same time (its heap of deadlines), which is common in
    virtual time: what was first is now first.
    """
    return next(_NUMBERS)


class _Lazy(ModuleType):
    """A module whose code runs when one of its attributes is first accessed."""

    def __getattribute__(self, name: str) -> Any:  # noqa: ANN401 - as the builtin
        get = super().__getattribute__
        # Importing a module that is already in sys.modules accesses these; it is no use of it.
        if name not in ("__spec__", "__path__", "__class__", "__dict__"):
            self.__class__ = ModuleType  # type: ignore[assignment]
            get("__spec__").loader.load(self)
        return get(name)


def _content(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - pathlib is not loaded
        return file.read()


def _take_no_time() -> None:
    """Make the lab's own program take no virtual time, so that its code does not affect results."""
    file = posix.open("/proc/self/comm", posix.O_WRONLY | posix.O_CLOEXEC)
    posix.write(file, FREE_COMM.encode())
    posix.close(file)


def _draw_afresh() -> None:
    """Reseed all random numbers, so that they do not depend on what imports consumed.

    The guest's kernel reseeds from its own seed (kernel/patches, 0001). See random(4). trio has a
    generator of its own, by which it shuffles the tasks that can run.
    """
    import random  # noqa: PLC0415 - not yet loaded, as are all others
    from fcntl import ioctl  # noqa: PLC0415

    file = posix.open("/dev/urandom", posix.O_RDONLY | posix.O_CLOEXEC)
    ioctl(file, _RNDRESEEDCRNG)
    posix.close(file)
    random.seed()
    if (scheduler := sys.modules.get("trio._core._run")) is not None:
        vars(scheduler)["_r"].seed()


def _without_ldconfig() -> None:
    """Disable the search for libraries: trio starts ldconfig for it, only to name its threads."""
    import ctypes  # noqa: PLC0415 - not yet loaded, as are all others

    util = ModuleType("ctypes.util")
    vars(util)["find_library"] = lambda _name: None
    vars(ctypes)["util"] = sys.modules[util.__name__] = util


def main(folder: str, module: str, job: str, *later: str) -> None:
    """Run a program of the lab, `module`, on a job's folder, with the code in `folder`.

    `later` is for transports from outside the project. It is appended to the import path only after
    the program has been imported: the lab's libraries try optional imports (pyroute2 tries psutil),
    which must not succeed or fail depending on what the host has installed.
    """
    _take_no_time()
    gc.disable()
    sys.path.insert(0, folder)
    sys.meta_path.insert(0, Bundle(folder))
    _without_ldconfig()
    try:
        program = __import__(module, fromlist=["main"])
    except ModuleNotFoundError:  # the program is itself from outside the project
        sys.path += later
        program = __import__(module, fromlist=["main"])
    else:
        sys.path += later
    gc.freeze()
    gc.enable()
    _draw_afresh()
    sys.exit(program.main(job))


if __name__ == "__main__":
    main(*sys.argv[1:])
