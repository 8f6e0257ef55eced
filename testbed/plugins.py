"""Find what a folder has, because its file exists: there is no list to add anything to.

A plugin is a module of a package that defines the attribute by which that package's plugins are
known: `COMMAND` in `testbed.cli`, `ACTION` in `testbed.censor.actions`, and so on. Modules without
the attribute are helpers. Everything is in the order of the files' names, on every machine.

In a guest the code comes from a bundle (`testbed.guest.boot`), whose loader knows the modules
itself. Listing a folder there would leave traces in the kernel's caches, and by them move what the
kernel draws for programs, such as the ports of their sockets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import Protocol, TypeVar, runtime_checkable

T = TypeVar("T")


def names(package: str) -> list[str]:
    """Return the names of a package's modules, without importing them; not those that begin with _.

    Raises:
        ImportError: There is no such package.
    """
    module = import_module(package)
    loader = None if module.__spec__ is None else module.__spec__.loader
    found = (
        loader.submodules(package)
        if isinstance(loader, _Lister)
        else [info.name for info in iter_modules(module.__path__)]
    )
    return sorted(name for name in found if not name.startswith("_"))


@runtime_checkable
class _Lister(Protocol):
    """A loader that knows the modules of its packages."""

    def submodules(self, package: str) -> list[str]:
        """Return the names of a package's modules, without the package's."""
        ...


class Plugins(Mapping[str, T]):
    """The plugins of a package by the name of their file; each is imported when it is asked for."""

    def __init__(self, package: str, attribute: str) -> None:
        self._package = package
        self._attribute = attribute

    def __getitem__(self, name: str) -> T:
        path = f"{self._package}.{name}"
        try:
            module = import_module(path)
        except ModuleNotFoundError as error:
            if error.name != path:  # the plugin is there, but lacks something
                raise
            raise KeyError(name) from None
        if not hasattr(module, self._attribute):
            raise KeyError(name)
        found: T = getattr(module, self._attribute)
        return found

    def __iter__(self) -> Iterator[str]:
        return (name for name in names(self._package) if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)
