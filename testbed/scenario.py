"""Reads scenarios, profiles and messengers from their TOML files and unfolds them into cells.

What a wrong file gets is one `ScenarioError` with file, key and what was expected. Nothing runs
here.
"""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_type_hints

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from testbed.call.messenger import Messenger
from testbed.cell import Cell, Links, Said, Topology, TransportChoice
from testbed.censor.profile import Profile, with_numbers
from testbed.linkset import LinkSet
from testbed.loading import (
    IN_TREE,
    in_tree_names,
    module_text,
    out_of_tree,
    transport_class,
    wrapped_parameters,
)
from testbed.transport import Transport
from testbed.validation import describe, names_in

ROOT = Path(__file__).resolve().parent.parent
SCENARIOS = ROOT / "scenarios"
CENSORS = SCENARIOS / "censors"
MESSENGERS = SCENARIOS / "messengers"
LINKS = SCENARIOS / "links"

T = TypeVar("T")
Axis = Literal["messenger", "transport", "censor", "links", "topology"]
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
    parameters: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""
    """What the scenario calls it, if it gave it a name of its own."""


def _entries(transports: object) -> object:
    """Read tables: `[transports.NAME]`, or `[transports.TITLE]` with `kind = "NAME"` in it."""
    if not isinstance(transports, Mapping):
        return transports
    if wrong := [title for title, table in transports.items() if not isinstance(table, Mapping)]:
        raise ValueError(f"{names_in(wrong)} must be a table, as by [transports.{wrong[0]}]")
    return [
        WithParameters(*_kind(table, title), title=title if "kind" in table else "")
        for title, table in transports.items()
    ]


def _kind(table: Mapping[str, Any], default: str) -> tuple[str, dict[str, Any]]:
    parameters = dict(table)
    return str(parameters.pop("kind", default)), parameters


@dataclass(frozen=True)
class Scenario:
    """An experiment: messengers x transports x censors x links x topologies x seeds."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    title: str
    question: str
    duration_s: Annotated[float, Field(gt=0)] = 30.0
    """Length of each call from its set-up to hanging up."""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**32)], ...], Field(min_length=1)] = (
        1,
        2,
        3,
    )
    messengers: Annotated[tuple[str, ...], Field(min_length=1)] = ("whatsapp",)
    transports: Annotated[
        tuple[str | WithParameters, ...], Field(min_length=1), BeforeValidator(_entries)
    ] = ("direct",)
    """A list of names and of tables with `name` and `parameters`; or named tables (`_entries`)."""
    censors: Annotated[tuple[str | Sweep, ...], Field(min_length=1)] = ("open",)
    links: Links | str | Annotated[tuple[str, ...], Field(min_length=1)] = "home-fibre"
    """A link set of `scenarios/links/`, several that are compared, or the links themselves."""
    topologies: Annotated[tuple[Topology, ...], Field(min_length=1)] = ("one-sided",)
    """Where the ends of a call are; several are compared."""
    exclude: tuple[Mapping[Axis, str], ...] = ()
    """Cells to leave out: those for which all that is named is so."""
    include: tuple[Mapping[Axis, str], ...] = ()
    """Cells to add, excluded ones too: what is named, with all of what is not."""
    said: Said = "speech"
    """What is said in the calls."""
    name: str = Field(default="", kw_only=True)
    """The file's name."""

    @property
    def link_sets(self) -> dict[str, Links]:
        """The links by name, as read from their files; links without a file have none."""
        if isinstance(self.links, Links):
            return {"": self.links}
        names = (self.links,) if isinstance(self.links, str) else self.links
        return {name: load_links(name) for name in names}


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


def link_set_names() -> list[str]:
    """Name the link sets."""
    return _stems(LINKS, "toml")


def load_link_set(name: str) -> LinkSet:
    """Read a link set by its name in `scenarios/links/`."""
    return _load(LINKS / f"{name}.toml", LinkSet, "link set")


def load_links(name: str) -> Links:
    """Read the links of a link set."""
    return load_link_set(name).links


def load_transport(choice: TransportChoice) -> Transport:
    """Make a transport with its parameters checked, and what it wraps with theirs."""
    where = f"transport {choice.title or choice.name}"
    kind = _class_of(choice)
    known = inspect.signature(kind).parameters
    if unknown := set(choice.parameters) - set(known):
        raise ScenarioError(
            f"{where}: it has no parameter {names_in(unknown)}, only {names_in(known)}"
        )
    checked: dict[str, Any] = {}
    for name, value in choice.parameters.items():
        if isinstance(value, TransportChoice):
            checked[name] = load_transport(value)
            continue
        try:
            checked[name] = TypeAdapter(get_type_hints(kind)[name]).validate_python(value)
        except ValidationError as error:
            raise ScenarioError(f"{where}: {name}: {describe(error, {})}") from None
    try:
        return kind(**checked)
    except (TypeError, ValueError) as error:
        message = str(error).replace("Transport.__init__()", "it is")
        raise ScenarioError(f"{where}: {message}") from None


def transport_kind(name: str) -> type[Transport]:
    """Give the class of a transport. ScenarioError: there is none, or its file is broken."""
    return _class_of(TransportChoice(name, source=_source(name)))


def _class_of(choice: TransportChoice) -> type[Transport]:
    try:
        return transport_class(choice.name, choice.source)
    except Exception as error:  # whatever a file of someone's raises
        raise ScenarioError(f"transport {choice.name}: {type(error).__name__}: {error}") from None


def cells(scenario: Scenario) -> list[Cell]:
    """Unfold a scenario into its cells, seeds innermost; included ones come last."""
    axes = _axes(scenario)
    product_of = {_names_of(c): c for c in product(*(a.items() for a in axes.values()))}
    chosen = {
        names: combination
        for names, combination in product_of.items()
        if not any(_is_meant(names, rule) for rule in scenario.exclude)
    }
    for rule in scenario.include:
        narrowed = {**axes, **{axis: {name: _load_one(axis, name)} for axis, name in rule.items()}}
        chosen |= {_names_of(c): c for c in product(*(a.items() for a in narrowed.values()))}
    compares_links, compares_topologies = (
        len({names[axis] for names in chosen}) > 1 for axis in (-2, -1)
    )
    found = []
    for (_, messenger), (_, choice), (_, censor), (name, links), (_, topology) in chosen.values():
        named = replace(links, name=name) if compares_links else links
        found += [
            Cell(
                messenger,
                choice,
                censor,
                named,
                seed,
                scenario.duration_s,
                scenario.said,
                topology,
                compares_topologies,
            )
            for seed in scenario.seeds
        ]
    for choice in {str(cell.transport): cell.transport for cell in found}.values():
        load_transport(choice)
    return found


def _axes(scenario: Scenario) -> dict[Axis, dict[str, Any]]:
    """Give what each axis has, by name, in the order of the axes."""
    source = f"{scenario.name}.toml"
    censors = [profile for entry in scenario.censors for profile in _censors(entry, source)]
    return {
        "messenger": {name: load_messenger(name) for name in scenario.messengers},
        "transport": {str(choice): choice for choice in transport_choices(scenario)},
        "censor": {profile.name: profile for profile in censors},
        "links": scenario.link_sets,
        "topology": {name: name for name in scenario.topologies},
    }


def _load_one(axis: Axis, name: str) -> object:
    """Load what an `include` names."""
    load: dict[Axis, Callable[[str], object]] = {
        "messenger": load_messenger,
        "transport": transport_choice,
        "censor": load_censor,
        "links": load_links,
        "topology": _topology,
    }
    return load[axis](name)


def _topology(name: str) -> str:
    if name not in (known := get_args(Topology)):
        raise ScenarioError(f"no topology {name!r}; there are {names_in(known)}")
    return name


def _names_of(combination: Iterable[tuple[str, Any]]) -> tuple[str, ...]:
    return tuple(name for name, _ in combination)


def cell_id(cell: Cell) -> str:
    """Name a cell within its scenario, fit for a folder."""
    restriction = f"{cell.censor.name} over {cell.links.name}".removesuffix(" over ")
    if cell.compares_topologies:
        restriction += f" {cell.topology}"
    parts = (cell.messenger.name, str(cell.transport), restriction, f"seed {cell.seed}")
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
    """Name the transports: ours, and those of other packages by their entry points."""
    return [*in_tree_names(), *out_of_tree()]


def transport_summary(name: str) -> str:
    """Give the first line of a transport's docstring, without importing it."""
    text = _source(name) or (IN_TREE / f"{name}.py").read_text()
    classes = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
    texts = [ast.get_docstring(node) for node in classes if node.name == "Transport"]
    return (texts[0] or "").splitlines()[0] if texts else ""


def _stems(folder: Path, suffix: str) -> list[str]:
    return sorted(p.stem for p in folder.glob(f"*.{suffix}") if not p.stem.startswith("_"))


def transport_choices(scenario: Scenario) -> list[TransportChoice]:
    """Give a scenario's transports; one may wrap another that stands before it, by its title."""
    titled: dict[str, TransportChoice] = {}
    for entry in scenario.transports:
        choice = transport_choice(entry, titled)
        titled[str(choice)] = choice
    return list(titled.values())


def only_transports(scenario: Scenario, names: Sequence[str]) -> tuple[str | WithParameters, ...]:
    """Give a scenario's entries of these titles; other names stand for themselves."""
    titled = {entry.title: entry for entry in scenario.transports if not isinstance(entry, str)}
    return tuple(titled.get(name, name) for name in names)


def transport_choice(
    entry: str | WithParameters, titled: Mapping[str, TransportChoice] | None = None
) -> TransportChoice:
    """Find which transport is meant.

    In a string: a name, `name {key = value, ...}`, or the path of a file (`./mine.py`). A name may
    be a title in `titled`. What it wraps is found, too. ScenarioError: there is no such transport.
    """
    titled = titled or {}
    if isinstance(entry, str):
        name, parameters = _parse(entry)
        if not parameters and name in titled:
            return titled[name]
        entry = WithParameters(name, parameters)
    name, title = entry.name, entry.title
    choice = TransportChoice(Path(name).stem, entry.parameters, _source(name), title)
    wrapped = wrapped_parameters(_class_of(choice))
    return replace(
        choice,
        parameters={
            key: _inner(value, f"transport {choice.title or name}: {key}", titled)
            if key in wrapped
            else value
            for key, value in choice.parameters.items()
        },
    )


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
    """Give the text of a transport that is not in `transports/`; empty: it is there."""
    try:
        if name.endswith(".py"):
            return Path(name).read_text()
        if name in in_tree_names():
            return ""
        if module := out_of_tree().get(name):
            return module_text(module)
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"transport {name}: {error}") from None
    except Exception as error:  # whatever a package of someone's raises when it is imported
        raise ScenarioError(f"transport {name}: {type(error).__name__}: {error}") from None
    raise ScenarioError(f"no transport {name!r}; there are {names_in(transport_names())}")


def _parse(entry: str) -> tuple[str, dict[str, Any]]:
    """Part `name {key = value, ...}`; a word that is no TOML value is a string without quotes."""
    name, brace, inside = (part.strip() for part in entry.partition("{"))
    if not brace:
        return name, {}
    inside = inside.removesuffix("}").strip()
    try:
        parameters: dict[str, Any] = tomllib.loads(f"parameters = {{{inside}}}")["parameters"]
    except tomllib.TOMLDecodeError:
        parameters = {}
        for pair in filter(None, inside.split(",")):
            key, equals, value = (part.strip() for part in pair.partition("="))
            if not equals:
                raise ScenarioError(f"transport {entry!r}: {pair!r} is not key = value") from None
            parameters[key] = _value(value)
    if not parameters:
        raise ScenarioError(f"transport {entry!r}: there is nothing in the braces")
    return name, parameters


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


def _is_meant(names: Iterable[str], rule: Mapping[Axis, str]) -> bool:
    """Whether a combination, named by its axes in order, has all that a rule names."""
    by_axis = dict(zip(get_args(Axis), names, strict=True))
    return all(by_axis[axis] == name for axis, name in rule.items())


def _load(path: Path, kind: type[T], what: str) -> T:
    try:
        content = tomllib.loads(path.read_text())
    except FileNotFoundError:
        known = names_in(_stems(path.parent, "toml")) if path.parent.is_dir() else "none"
        raise ScenarioError(
            f"no {what} {path.stem!r}: {path} is missing; there are {known}"
        ) from None
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path}: {error}") from None
    try:
        return TypeAdapter(kind).validate_python({**content, "name": path.stem})
    except ValidationError as error:
        raise ScenarioError(f"{path}: {describe(error, content)}") from None
