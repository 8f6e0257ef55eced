"""Load transports and instantiate them with their parameters, including wrapped ones.

A transport is a file in `transports/`, an entry point of the group `testbed.transports` in any
installed package, or a file given by its path. The last two are represented by the text of their
file, so that a guest needs nothing else to run them. Parameters are not checked here but in
`choosing`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import get_type_hints

from testbed.experiment.cell import THROUGH, TransportChoice
from testbed.plugins import names
from testbed.transport.carried import Carried
from testbed.transport.interface import Program, Transport

IN_TREE = Path(__file__).resolve().parents[2] / "transports"
ENTRY_POINTS = "testbed.transports"
"""The entry point group: `NAME = "PACKAGE.MODULE"` makes this module the transport NAME."""


def in_tree_names() -> list[str]:
    """Return the names of the transports that come with the project; each is one file."""
    return names("transports")


def out_of_tree() -> dict[str, list[str]]:
    """Return the modules of the transports in other packages, by the transport's name.

    Names of our own transports are left out. Several modules mean that several packages use the
    same name.
    """
    from importlib.metadata import entry_points  # noqa: PLC0415 - costs a guest, which needs none

    ours = set(in_tree_names())
    found: dict[str, set[str]] = {}
    for point in entry_points(group=ENTRY_POINTS):
        found.setdefault(point.name, set()).add(point.module)
    return {name: sorted(found[name]) for name in sorted(found) if name not in ours}


def module_text(module: str) -> str:
    """Return the text of a module's file without running it.

    Raises:
        ImportError: The module has no Python file.
    """
    from importlib.util import find_spec  # noqa: PLC0415 - as above

    spec = find_spec(module)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise ImportError(f"the module {module} has no Python file")
    return Path(spec.origin).read_text()


def transport_class(name: str, source: str = "") -> type[Transport]:
    """Return the class of a transport in `transports/`, or of one whose file's text is `source`.

    Whatever the file raises when it is run is passed on.

    Raises:
        ImportError: There is no such file, or it has no class `Transport`.
    """
    module = _module_of(name, source) if source else importlib.import_module(f"transports.{name}")
    try:
        kind: type[Transport] = module.Transport
    except AttributeError:
        raise ImportError(f"{name}.py has no class Transport") from None
    return kind


_numbers = count()


@cache
def _module_of(name: str, source: str) -> ModuleType:
    """Run a file's text as a module with a unique name, by which type hints are resolved.

    The name must be unique because two files may have the same name, and one may wrap the other.
    """
    module = ModuleType(f"transport_{next(_numbers)}_{name}")
    sys.modules[module.__name__] = module
    exec(compile(source, f"{name}.py", "exec"), vars(module))
    return module


def wrapped_parameters(kind: type[Transport]) -> set[str]:
    """Return the names of the parameters that are transports themselves, which the class wraps."""
    return {name for name, hint in get_type_hints(kind).items() if hint is Transport}


def make_transport(choice: TransportChoice) -> Transport:
    """Return a transport with its parameters, and with the transports that it wraps or needs."""
    made = {
        key: make_transport(value) if isinstance(value, TransportChoice) else value
        for key, value in choice.parameters.items()
    }
    carrier = made.pop(THROUGH, None)
    transport = transport_class(choice.name, choice.source)(**made)
    return transport if carrier is None else Carried(transport, carrier)


def own_programs(kind: type[Transport]) -> tuple[Program, ...]:
    """Return the programs that a class needs whatever its parameters are."""
    declared = getattr(kind, "programs", ())  # a property, if parameters decide
    return declared if isinstance(declared, tuple) else ()


def programs_of(transport: Transport) -> Iterator[Program]:
    """Yield the external programs that a transport and the transports it wraps need."""
    yield from transport.programs
    if is_dataclass(transport):
        for field in fields(transport):
            value = getattr(transport, field.name)
            if isinstance(value, Transport):
                yield from programs_of(value)
