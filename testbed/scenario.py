"""Reads scenarios, profiles and messengers from their TOML files and unfolds them into cells.

What a wrong file gets is one `ScenarioError` with file, key and what was expected. Nothing runs
here.
"""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from testbed.call.messenger import Messenger
from testbed.cell import Cell, Links, Said, TransportChoice
from testbed.censor.actions import Action
from testbed.censor.profile import Profile, with_numbers
from testbed.loading import inner_choice, transport_class, wrapped_parameters
from testbed.transport import Transport

ROOT = Path(__file__).resolve().parent.parent
SCENARIOS = ROOT / "scenarios"
CENSORS = SCENARIOS / "censors"
MESSENGERS = SCENARIOS / "messengers"
TRANSPORTS = ROOT / "transports"

T = TypeVar("T")
Axis = Literal["messenger", "transport", "censor"]
_ACTIONS = {kind.__name__ for kind in get_args(Action)}
_FORBID_UNKNOWN_KEYS = {"extra": "forbid"}


class ScenarioError(Exception):
    """A file is wrong; the message names file and key, and what was expected."""


@dataclass(frozen=True)
class Sweep:
    """A profile with some of its numbers set to each of several values in turn."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    name: str
    sweep: str
    """What is varied, in one word for people."""
    numbers: tuple[str, ...]
    """`RULE.NUMBER`; all are set to the same value."""
    values: Annotated[tuple[float, ...], Field(min_length=1)]


@dataclass(frozen=True)
class WithParameters:
    """A transport with parameters of its own."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    name: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Scenario:
    """An experiment: messengers x transports x censors x seeds over some links."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    title: str
    question: str
    duration_s: Annotated[float, Field(gt=0)]
    """Length of each call from its set-up to hanging up."""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**32)], ...], Field(min_length=1)]
    messengers: Annotated[tuple[str, ...], Field(min_length=1)]
    transports: Annotated[tuple[str | WithParameters, ...], Field(min_length=1)]
    censors: Annotated[tuple[str | Sweep, ...], Field(min_length=1)]
    links: Links
    exclude: tuple[Mapping[Axis, str], ...] = ()
    """Cells to leave out: those for which all that is named is so."""
    said: Said = "speech"
    """What is said in the calls."""
    name: str = Field(default="", kw_only=True)
    """The file's name."""


def scenario_path(name_or_path: str) -> Path:
    """Give the file of a scenario: its own path, or by its name in `scenarios/`."""
    path = Path(name_or_path)
    return path if path.suffix == ".toml" else SCENARIOS / f"{name_or_path}.toml"


def load_scenario(name_or_path: str) -> Scenario:
    """Read a scenario by its name in `scenarios/` or by the path of its file."""
    return _load(scenario_path(name_or_path), Scenario, "scenario")


def load_censor(name: str) -> Profile:
    """Read a censor profile by its name in `scenarios/censors/`."""
    return _load(CENSORS / f"{name}.toml", Profile, "censor profile")


def load_messenger(name: str) -> Messenger:
    """Read a messenger by its name in `scenarios/messengers/`."""
    return _load(MESSENGERS / f"{name}.toml", Messenger, "messenger")


def load_transport(choice: TransportChoice) -> Transport:
    """Make a transport with its parameters checked, and what it wraps with theirs."""
    where = f"transport {choice.name}"
    if not choice.source and choice.name not in transport_names():
        raise ScenarioError(f"no transport {choice.name!r}; there are {_names(transport_names())}")
    try:
        kind = transport_class(choice.name, choice.source)
    except Exception as error:  # whatever a file of someone's raises
        raise ScenarioError(f"{where}: {type(error).__name__}: {error}") from None
    known = inspect.signature(kind).parameters
    if unknown := set(choice.parameters) - set(known):
        raise ScenarioError(f"{where}: it has no parameter {_names(unknown)}, only {_names(known)}")
    wrapped = wrapped_parameters(kind)
    checked: dict[str, Any] = {}
    for name, value in choice.parameters.items():
        try:
            if name in wrapped:
                checked[name] = load_transport(TransportChoice(*inner_choice(value)))
            else:
                checked[name] = TypeAdapter(get_type_hints(kind)[name]).validate_python(value)
        except ValidationError as error:
            raise ScenarioError(f"{where}: {name}: {_describe(error, {})}") from None
        except ValueError as error:
            raise ScenarioError(f"{where}: {name}: {error}") from None
    try:
        return kind(**checked)
    except (TypeError, ValueError) as error:
        raise ScenarioError(f"{where}: {error}") from None


def cells(scenario: Scenario) -> list[Cell]:
    """Unfold a scenario into its cells, seeds innermost."""
    source = f"{scenario.name}.toml"
    messengers = [load_messenger(name) for name in scenario.messengers]
    censors = [profile for entry in scenario.censors for profile in _censors(entry, source)]
    transports = [transport_choice(entry) for entry in scenario.transports]
    for choice in transports:
        load_transport(choice)
    return [
        Cell(messenger, choice, censor, scenario.links, seed, scenario.duration_s, scenario.said)
        for messenger, choice, censor, seed in product(
            messengers, transports, censors, scenario.seeds
        )
        if not any(_is_excluded(messenger, choice, censor, rule) for rule in scenario.exclude)
    ]


def cell_id(cell: Cell) -> str:
    """Name a cell within its scenario, fit for a folder."""
    parts = (cell.messenger.name, str(cell.transport), cell.censor.name, f"seed {cell.seed}")
    return "--".join(re.sub(r"[^A-Za-z0-9.]+", "-", part).strip("-") for part in parts)


def scenario_names() -> list[str]:
    """Name the scenarios that come with the project."""
    return _stems(SCENARIOS, "toml")


def censor_names() -> list[str]:
    """Name the censor profiles."""
    return _stems(CENSORS, "toml")


def messenger_names() -> list[str]:
    """Name the messengers."""
    return _stems(MESSENGERS, "toml")


def transport_names() -> list[str]:
    """Name the transports: one file, one transport."""
    return _stems(TRANSPORTS, "py")


def transport_summary(name: str) -> str:
    """Give the first line of a transport's docstring, without importing it."""
    module = ast.parse((TRANSPORTS / f"{name}.py").read_text())
    classes = [node for node in module.body if isinstance(node, ast.ClassDef)]
    texts = [ast.get_docstring(node) for node in classes if node.name == "Transport"]
    return (texts[0] or "").splitlines()[0] if texts else ""


def _stems(folder: Path, suffix: str) -> list[str]:
    return sorted(p.stem for p in folder.glob(f"*.{suffix}") if not p.stem.startswith("_"))


def transport_choice(entry: str | WithParameters) -> TransportChoice:
    """Read which transport is meant.

    In a string: a name, `name {key = value, ...}`, or the path of a file (`./mine.py`).
    """
    if not isinstance(entry, str):
        return TransportChoice(entry.name, entry.parameters)
    name, brace, inside = (part.strip() for part in entry.partition("{"))
    parameters = {}
    for pair in filter(None, inside.rstrip("} ").split(",")):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals:
            raise ScenarioError(f"transport {entry!r}: {pair!r} is not key = value")
        parameters[key] = _value(value)
    if brace and not parameters:
        raise ScenarioError(f"transport {entry!r}: there is nothing in the braces")
    if not name.endswith(".py"):
        return TransportChoice(name, parameters)
    try:
        return TransportChoice(Path(name).stem, parameters, Path(name).read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"transport {name}: {error}") from None


def _value(text: str) -> object:
    """Read a TOML value; what is none is a string that needs no quotes."""
    try:
        value: object = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return value


def _censors(entry: str | Sweep, source: str) -> Iterator[Profile]:
    if isinstance(entry, str):
        yield load_censor(entry)
        return
    profile = load_censor(entry.name)
    for value in entry.values:
        try:
            varied = with_numbers(profile, entry.numbers, value)
        except ValueError as error:
            raise ScenarioError(f"{source}: censors: {error}") from None
        yield replace(varied, name=f"{entry.name} {entry.sweep}={value:g}")


def _is_excluded(
    messenger: Messenger, choice: TransportChoice, censor: Profile, rule: Mapping[Axis, str]
) -> bool:
    names: dict[Axis, str] = {
        "messenger": messenger.name,
        "transport": str(choice),
        "censor": censor.name,
    }
    return all(names[key] == value for key, value in rule.items())


def _load(path: Path, kind: type[T], what: str) -> T:
    try:
        content = tomllib.loads(path.read_text())
    except FileNotFoundError:
        known = _names(_stems(path.parent, "toml")) if path.parent.is_dir() else "none"
        raise ScenarioError(
            f"no {what} {path.stem!r}: {path} is missing; there are {known}"
        ) from None
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path}: {error}") from None
    try:
        return TypeAdapter(kind).validate_python({**content, "name": path.stem})
    except ValidationError as error:
        raise ScenarioError(f"{path}: {_describe(error, content)}") from None


def _describe(error: ValidationError, content: Mapping[str, Any]) -> str:
    """Say of each wrong key where it is and what was expected."""
    lines: dict[str, str] = {}
    for detail in error.errors():
        keys = _keys(detail, content)
        if keys is not None:
            where = ".".join(keys) or "the file"
            message = detail["msg"].removeprefix("Value error, ")
            if where not in lines:
                lines[where] = message
            elif message not in lines[where]:
                lines[where] += f" or {message.removeprefix('Input should be ')}"
    return "; ".join(f"{where}: {message}" for where, message in lines.items())


def _keys(detail: ErrorDetails, content: Mapping[str, Any]) -> list[str] | None:
    """Give the way to a wrong key as in the file; None for alternatives that were not meant."""
    keys: list[str] = []
    value: Any = content
    for part in detail["loc"]:
        if isinstance(value, Mapping) and isinstance(value.get("kind"), str):
            meant = value["kind"].capitalize()
            is_other = part in _ACTIONS and part != meant
            if is_other and (meant in _ACTIONS or detail["loc"][-1] != "kind"):
                return None
        if isinstance(value, Mapping) and part in value:
            keys.append(str(part))
            value = value[part]
        elif isinstance(value, Sequence) and isinstance(part, int) and part < len(value):
            value = value[part]
            name = value.get("name") if isinstance(value, Mapping) else None
            keys.append(str(name or part))
        elif not (isinstance(part, str) and part[:1].isupper()):
            keys.append(str(part))
    return keys


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
