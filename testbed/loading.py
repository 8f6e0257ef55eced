"""Finds transports and makes them with their parameters, wrapped ones too; checks no types."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from types import ModuleType
from typing import Any, get_type_hints

from testbed.transport import Program, Transport


def transport_class(name: str, source: str = "") -> type[Transport]:
    """Give the class of a transport in `transports/`, or of one whose file's text is `source`.

    ImportError: there is none. What a file raises when it is run is let through.
    """
    if source:
        module = ModuleType(f"transports_by_path_{name}")
        sys.modules[module.__name__] = module
        exec(compile(source, f"{name}.py", "exec"), vars(module))
    else:
        module = importlib.import_module(f"transports.{name}")
    try:
        kind: type[Transport] = module.Transport
    except AttributeError:
        raise ImportError(f"{name}.py has no class Transport") from None
    return kind


def wrapped_parameters(kind: type[Transport]) -> set[str]:
    """Name the parameters of a class that are transports themselves: it wraps these."""
    return {name for name, hint in get_type_hints(kind).items() if hint is Transport}


def inner_choice(value: object) -> tuple[str, dict[str, Any]]:
    """Read a wrapped transport: its name, or a table with `name` and parameters. ValueError."""
    match value:
        case str():
            return value, {}
        case {"name": str(name), **parameters}:
            return name, {str(key): value for key, value in parameters.items()}
    raise ValueError("a transport's name, or a table with its name and its parameters")


def make_transport(name: str, parameters: Mapping[str, Any], source: str = "") -> Transport:
    """Make a transport with its parameters, and what it wraps with theirs."""
    kind = transport_class(name, source)
    wrapped = wrapped_parameters(kind) & set(parameters)
    made = {key: make_transport(*inner_choice(parameters[key])) for key in wrapped}
    return kind(**{**parameters, **made})


def programs_of(transport: Transport) -> Iterator[Program]:
    """Give the foreign programs that a transport and what it wraps need."""
    yield from transport.programs
    if is_dataclass(transport):
        for field in fields(transport):
            value = getattr(transport, field.name)
            if isinstance(value, Transport):
                yield from programs_of(value)
