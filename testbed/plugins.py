"""Find what a folder has, because its file exists: there is no list to add anything to.

A plugin is a module of a package that defines the attribute by which that package's plugins are
known: `COMMAND` in `testbed.cli`, `ACTION` in `testbed.censor.actions`, and so on. Modules without
the attribute are helpers. Everything is in the order of the files' names, on every machine.

This also works in a guest, whose code comes from a bundle: the bundle has every module of the
package, and the folder that is listed is a copy of the one on the host.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import TypeVar

T = TypeVar("T")


def names(package: str) -> list[str]:
    """Return the names of a package's modules, without importing them; not those that begin with _.

    Raises:
        ImportError: There is no such package.
    """
    path = import_module(package).__path__
    return sorted(info.name for info in iter_modules(path) if not info.name.startswith("_"))


class Plugins(Mapping[str, T]):
    """The plugins of a package by the name of their file; each is imported when it is asked for."""

    def __init__(self, package: str, attribute: str) -> None:
        self._package = package
        self._attribute = attribute

    def __getitem__(self, name: str) -> T:
        if name not in names(self._package):
            raise KeyError(name)
        module = import_module(f"{self._package}.{name}")
        try:
            found: T = getattr(module, self._attribute)
        except AttributeError:
            raise KeyError(name) from None
        return found

    def __iter__(self) -> Iterator[str]:
        return (name for name in names(self._package) if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)
