"""The first that a guest's Python runs: it imports from a bundle, then starts a program of the lab.

In a guest a module costs a dozen system calls to find and read, and compiling the methods that
attrs and dataclasses generate costs as much as they do. So what cells import lies in one file with
an index, and generated methods beside it as they were compiled (`testbed.guest.bundle` writes
both). What is not in the bundle is imported as ever. This imports nothing that Python has not
loaded yet.
"""

from __future__ import annotations

import gc
import marshal
import posix
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import ExtensionFileLoader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, ModuleType
    from typing import Any
else:
    ModuleType = type(sys)

FREE_COMM = "testbed-lab"
"""Under this name a task takes no virtual time for what it does (kernel/patches, 0018)."""
BUNDLE, INDEX, GENERATED = "bundle", "bundle.index", "bundle.generated"
"""Files beside the packages."""
_LAZY = {
    *("ast", "dis", "hmac", "idna", "inspect", "json", "locale", "platform", "shutil", "textwrap"),
    *("traceback", "urllib.parse", "attrs.converters", "attrs.filters", "attrs.setters"),
    "attrs.validators",
}
"""Modules that others import and cells seldom use; they are loaded when they are."""

_RNDRESEEDCRNG = 0x5207
"""From <linux/random.h>."""


class Bundle:
    """Finds and loads what is in a folder's bundle (an importlib finder and loader)."""

    def __init__(self, folder: str) -> None:
        index = marshal.loads(_content(f"{folder}/{INDEX}"))
        self._modules: dict[str, tuple[bool, str, int, int]] = index["modules"]
        """By name: whether it is a package, its file, where its code begins, how long it is."""
        self._extensions: dict[str, str] = index["extensions"]
        """Files of compiled modules, by name."""
        self._generated: dict[str, CodeType] = marshal.loads(_content(f"{folder}/{GENERATED}"))
        """Code by its text."""
        self._file = posix.open(f"{folder}/{BUNDLE}", posix.O_RDONLY | posix.O_CLOEXEC)

    def find_spec(
        self, name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module; None: it is not in the bundle."""
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

    def create_module(self, _spec: ModuleSpec) -> None:
        """Leave it to Python."""

    def exec_module(self, module: ModuleType) -> None:
        """Run a module's code, now or when it is first used."""
        if module.__name__ in _LAZY:
            module.__class__ = _Lazy
        else:
            self.load(module)

    def load(self, module: ModuleType) -> None:
        """Run a module's code."""
        name = module.__name__
        _, _, start, size = self._modules[name]
        exec(marshal.loads(posix.pread(self._file, size, start)), vars(module))
        # Both make methods from text; what is global to a module goes before what is built in.
        if name == "dataclasses":
            vars(module)["exec"] = self._exec
        elif name == "attr._make":
            vars(module)["compile"] = self._compile

    def _exec(self, text: str, *places: dict[str, Any]) -> None:
        exec(self._generated.get(text, text), *places)

    def _compile(self, text: str, *args: Any) -> CodeType:  # noqa: ANN401 - as the builtin
        found = self._generated.get(text)
        return compile(text, *args) if found is None else found


class _Lazy(ModuleType):
    """A module whose code is run when something of it is first asked for."""

    def __getattribute__(self, name: str) -> Any:  # noqa: ANN401 - as the builtin
        get = super().__getattribute__
        # An import of what is imported already asks for these.
        if name not in ("__spec__", "__path__", "__class__", "__dict__"):
            self.__class__ = ModuleType  # type: ignore[assignment]
            get("__spec__").loader.load(self)
        return get(name)


def _content(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - pathlib is not loaded
        return file.read()


def _take_no_time() -> None:
    """Let the lab's own program take no virtual time: its code must not move what it observes."""
    file = posix.open("/proc/self/comm", posix.O_WRONLY | posix.O_CLOEXEC)
    posix.write(file, FREE_COMM.encode())
    posix.close(file)


def _draw_afresh() -> None:
    """Seed the guest's random numbers anew, so that it does not count how many imports drew.

    The guest's kernel does so from its own seed (kernel/patches, 0001). See random(4).
    """
    from fcntl import ioctl  # noqa: PLC0415 - not yet loaded

    file = posix.open("/dev/urandom", posix.O_RDONLY | posix.O_CLOEXEC)
    ioctl(file, _RNDRESEEDCRNG)
    posix.close(file)


def _without_ldconfig() -> None:
    """Let nobody look for libraries: trio does, by starting ldconfig, to give threads names."""
    import ctypes  # noqa: PLC0415 - not yet loaded, as are all others

    util = ModuleType("ctypes.util")
    vars(util)["find_library"] = lambda _name: None
    vars(ctypes)["util"] = sys.modules[util.__name__] = util


def main(folder: str, module: str, job: str, *later: str) -> None:
    """Run a program of the lab, `module`, on a job's folder, with the code that `folder` has.

    `later` joins the import path when the program is imported, for transports from elsewhere: the
    lab's libraries try to import others (pyroute2 does psutil), which must not be seen.
    """
    _take_no_time()
    gc.disable()
    sys.path.insert(0, folder)
    sys.meta_path.insert(0, Bundle(folder))
    _without_ldconfig()
    try:
        program = __import__(module, fromlist=["main"])
    except ModuleNotFoundError:  # it is from elsewhere itself
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
