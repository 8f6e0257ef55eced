"""Find and check the transports that people choose by name and parameters.

A choice is a name as in `testbed.experiment.names`, or a table with `kind` and parameters. The
place in a name is a known transport, the path of a Python file, or what people already have
(`testbed.experiment.brought`). A transport may wrap another one, which is chosen in the same way.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from testbed.errors import did_you_mean
from testbed.experiment.brought.brought import read_brought
from testbed.experiment.cell import THROUGH, TransportChoice
from testbed.experiment.explanations import (
    ScenarioError,
    TomlTable,
    by_name,
    describe,
    names_in,
    there_are,
)
from testbed.experiment.loading import (
    IN_TREE,
    in_tree_names,
    module_text,
    out_of_tree,
    transport_class,
    wrapped_parameters,
)
from testbed.experiment.names import Name, parse_name
from testbed.experiment.ranges import wrong_values
from testbed.experiment.toml_files import read_input
from testbed.transport.carried import Carried, can_be_carried
from testbed.transport.interface import Transport


@dataclass(frozen=True)
class WithParameters:
    """A transport with its parameters, as a scenario has it."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - read by pydantic

    name: str
    parameters: Mapping[str, object] = field(default_factory=dict)
    title: str = ""
    """Its name in the scenario, if the scenario gave it one."""


_ENTRY_KEYS = ("name", "parameters", "title")
Entries = tuple[str | WithParameters, ...]
"""A scenario's transports: names, and names with parameters."""


def read_entries(transports: object) -> object:
    """Return a scenario's entries.

    They are a list, or tables: `[transports.NAME]`, or `[transports.TITLE]` with `kind = "NAME"`.

    Raises:
        ValueError: An entry is neither a name nor a table of this form.
    """
    if isinstance(transports, list):
        return tuple(map(_entry, transports))
    if not isinstance(transports, Mapping):
        return transports
    if wrong := [title for title, table in transports.items() if not isinstance(table, Mapping)]:
        raise ValueError(f"{names_in(wrong)} must be a table, as by [transports.{wrong[0]}]")
    return tuple(
        WithParameters(*_kind(table, title), title=title if "kind" in table else "")
        for title, table in transports.items()
    )


def _entry(entry: object) -> str | WithParameters:
    if isinstance(entry, Mapping) and (unknown := set(entry) - set(_ENTRY_KEYS)):
        hint = did_you_mean(min(unknown), _ENTRY_KEYS)
        raise ValueError(f"unexpected key {names_in(unknown)} of {names_in(_ENTRY_KEYS)}{hint}")
    match entry:
        case str():
            return entry
        case {"name": str(name), **others}:
            parameters, title = others.get("parameters", {}), others.get("title", "")
            if isinstance(parameters, Mapping) and isinstance(title, str):
                return WithParameters(name, parameters, title)
    raise ValueError(
        f"{entry!r} is not a name such as 'direct', nor a table with `name` and `parameters`"
    )


def _kind(table: TomlTable, default: str) -> tuple[str, TomlTable]:
    parameters = dict(table)
    match parameters.pop("kind", default):
        case str(kind):
            return kind, parameters
        case other:
            raise ValueError(f"{default}.kind: {other!r} is no transport's name such as 'direct'")


def transport_choices(entries: Entries) -> list[TransportChoice]:
    """Return a scenario's transports; each may wrap an earlier one by its title.

    Raises:
        ScenarioError: There is no such transport, or two different ones have the same name.
    """
    titled: dict[str, TransportChoice] = {}
    asked: list[tuple[str, str, TransportChoice]] = []
    for entry in entries:
        choice = transport_choice(entry, titled)
        titled[str(choice)] = choice
        asked.append((str(choice), _as_asked(entry), choice))
    remedy = "; give one a name of its own, as by [transports.NAME] with its `kind`"
    return list(by_name("transports", asked, remedy).values())


def _as_asked(entry: str | WithParameters) -> str:
    """Return the words by which a scenario asks for a transport."""
    if isinstance(entry, str):
        return entry
    return f"[transports.{entry.title}] of kind {entry.name}" if entry.title else entry.name


def only_transports(entries: Entries, names: Sequence[str]) -> Entries:
    """Return a scenario's entries with these titles, or all entries if there are no names.

    A name that is not a title stands for the transport of that name.
    """
    if not names:
        return entries
    titled = {entry.title: entry for entry in entries if not isinstance(entry, str)}
    return tuple(titled.get(name, name) for name in names)


def transport_choice(
    entry: str | WithParameters, titled: Mapping[str, TransportChoice] | None = None
) -> TransportChoice:
    """Return the transport that an entry means, with the transports that it wraps.

    A string is a name, `name {key = value, ...}`, or the path of a file (`./mine.py`). A name may
    be a title in `titled`.

    Raises:
        ScenarioError: There is no such transport.
    """
    titled = titled or {}
    if isinstance(entry, str):
        if entry in titled:
            return titled[entry]
        entry = _as_table(_parse(entry))
    name, title = entry.name, entry.title
    choice = TransportChoice(Path(name).stem, entry.parameters, _source(name), title)
    with _run_by(choice):
        wrapped = wrapped_parameters(_class_of(choice)) | {THROUGH}
    return replace(
        choice,
        parameters={
            key: _inner(value, f"transport {choice.title or name}: {key}", titled)
            if key in wrapped
            else value
            for key, value in choice.parameters.items()
        },
    )


def name_as_shown(text: str) -> str:
    """Return a transport's name in the form in which tables show it; a title stays as it is."""
    try:
        return str(transport_choice(text))
    except ScenarioError:
        return text


def _inner(value: object, where: str, titled: Mapping[str, TransportChoice]) -> TransportChoice:
    match value:
        case str():
            return transport_choice(value, titled)
        case {"kind": str(name), **parameters} | {"name": str(name), **parameters}:
            named = {str(key): value for key, value in parameters.items()}
            return transport_choice(WithParameters(name, named), titled)
    raise ScenarioError(
        f"{where}: a transport's name, or a table with it as `kind` and with its parameters"
    )


def _source(name: str) -> str:
    """Return the text of a transport that is not in `transports/`; empty if it is there."""
    try:
        if name.endswith(".py"):
            return _text_of(Path(name))
        if name in in_tree_names():
            return ""
        if modules := out_of_tree().get(name):
            return module_text(_only(name, modules))
    except ScenarioError:
        raise
    except FileNotFoundError:
        raise ScenarioError(f"no transport {name}: there is no such file") from None
    except (Exception, SystemExit) as error:  # from importing a package of someone's
        raise ScenarioError(f"transport {name}: {_said(error)}") from None
    raise ScenarioError(f"no transport {name!r}; {there_are(name, transport_names())}")


def _only(name: str, modules: Sequence[str]) -> str:
    if len(modules) > 1:
        raise ScenarioError(f"transport {name}: several packages define it: {names_in(modules)}")
    return modules[0]


def _parse(entry: str) -> Name:
    try:
        return parse_name(entry)
    except ValueError as error:
        raise ScenarioError(f"transport {entry!r}: {error}") from None


def _as_table(name: Name) -> WithParameters:
    """Return a name as a table has it, with its carrier as a parameter."""
    parameters = dict(name.parameters)
    if name.through is not None:
        parameters[THROUGH] = str(name.through)
    if (brought := read_brought(name.place)) is None:
        return WithParameters(name.place, parameters)
    title = str(replace(name, place=brought.title)) if brought.title else ""
    return WithParameters(brought.name.place, {**brought.name.parameters, **parameters}, title)


def load_transport(choice: TransportChoice) -> Transport:
    """Make a transport with its parameters checked, and what it wraps or needs with theirs."""
    if (carrier := choice.parameters.get(THROUGH)) is None:
        return _load_own(choice)
    own = {key: value for key, value in choice.parameters.items() if key != THROUGH}
    transport = _load_own(replace(choice, parameters=own))
    if not can_be_carried(transport):
        raise ScenarioError(
            f"transport {choice}: {choice.name} sends more than UDP datagrams, so "
            f"nothing can carry it; what can be carried is {names_in(_carried_names())}"
        )
    return Carried(transport, load_transport(carrier))


def _carried_names() -> list[str]:
    """Return the names of our transports that another one can carry, with some parameters."""
    return [name for name in in_tree_names() if getattr(transport_class(name), "udp_only", False)]


def _load_own(choice: TransportChoice) -> Transport:
    """Make a transport with its parameters checked, without what carries it."""
    where = f"transport {choice.title or choice.name}"
    kind = _class_of(choice)
    with _run_by(choice):
        known, hints = inspect.signature(kind).parameters, get_type_hints(kind)
    if unknown := set(choice.parameters) - set(known):
        raise ScenarioError(
            f"{where}: it has no parameter {names_in(unknown)}, only {names_in(known)}"
            f"{did_you_mean(min(unknown), known)}"
        )
    needed = [name for name, of in known.items() if of.default is inspect.Parameter.empty]
    if missing := [repr(name) for name in needed if name not in choice.parameters]:
        raise ScenarioError(f"{where}: it is missing the parameter {names_in(missing)}")
    checked = {
        name: load_transport(value)
        if isinstance(value, TransportChoice)
        else _checked(value, hints[name], f"{where}: ", name)
        for name, value in choice.parameters.items()
    }
    with _run_by(choice):
        made = kind(**checked)
        lacking = [name for name in ("serve", "connect", "programs") if not hasattr(made, name)]
        tuple(() if lacking else made.programs)  # a property may be code, too
    if lacking:
        raise ScenarioError(f"{where}: its class Transport has no {', '.join(lacking)}")
    return made


def _checked(value: object, hint: Any, where: str, name: str) -> object:  # noqa: ANN401 - any type
    """Return the value of a parameter as its type hint wants it.

    Raises:
        ScenarioError: It is not of that type.
    """
    if wrong := wrong_values({name: value}):
        raise ScenarioError(where + wrong[0])
    try:
        # By JSON's rules, as for files: see `testbed.experiment.toml_files`.
        return TypeAdapter(hint).validate_json(to_json(value), strict=True)
    except ValidationError as error:
        raise ScenarioError(where + describe(error, {}, within=name)) from None


@contextmanager
def _run_by(choice: TransportChoice) -> Iterator[None]:
    """Turn whatever a person's file raises here into an error that names the transport.

    It may even end the interpreter, by `sys.exit`.
    """
    try:
        yield
    except ScenarioError:
        raise
    except (TypeError, ValueError) as error:
        raise ScenarioError(f"transport {choice.title or choice.name}: {error}") from None
    except (Exception, SystemExit) as error:
        raise ScenarioError(f"transport {choice.title or choice.name}: {_said(error)}") from None


def _said(error: BaseException) -> str:
    """Return an error of someone's file in one line."""
    if isinstance(error, SystemExit):
        return f"its file ends the program, by sys.exit({error.code!r}); let it raise an error"
    return " ".join(f"{type(error).__name__}: {error}".split())


def _text_of(path: Path) -> str:
    text = read_input(path)
    if not text.strip():
        raise ScenarioError(f"transport {path}: the file is empty; it needs a class Transport")
    return text


def transport_kind(name: str) -> type[Transport]:
    """Return the class of a transport.

    Raises:
        ScenarioError: There is no such transport, or its file is broken.
    """
    return _class_of(TransportChoice(name, source=_source(name)))


def _class_of(choice: TransportChoice) -> type[Transport]:
    try:
        kind = transport_class(choice.name, choice.source)
    except (Exception, SystemExit) as error:  # from running a file of someone's
        raise ScenarioError(f"transport {choice.name}: {_said(error)}") from None
    if not isinstance(kind, type):
        raise ScenarioError(f"transport {choice.name}: its Transport is no class, but {kind!r}")
    return kind


def transport_names() -> list[str]:
    """Return the names of the transports: ours, and those of other packages' entry points."""
    return [*in_tree_names(), *out_of_tree()]


def transport_summary(name: str) -> str:
    """Return the first line of a transport's docstring, without importing it."""
    text = _source(name) or (IN_TREE / f"{name}.py").read_text()
    classes = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
    texts = [ast.get_docstring(node) for node in classes if node.name == "Transport"]
    return (texts[0] or "").splitlines()[0] if texts else ""
