"""Unfold a scenario into cells.

The cells are the product of the scenario's axes (messengers, transports, censors, links and
topologies) without the excluded combinations and with the included ones, each with every seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import product
from typing import Any, get_args

from testbed.censor.stack import AnyCensor
from testbed.experiment.cell import Cell, Topology
from testbed.experiment.choosing import (
    load_transport,
    name_as_shown,
    transport_choice,
    transport_choices,
)
from testbed.experiment.explanations import Asked, ScenarioError, by_name, there_are
from testbed.experiment.link_files import check_nats, links_name
from testbed.experiment.names import as_file_name
from testbed.experiment.scenario import Axis, Scenario, load_any_censor, load_links, load_messenger
from testbed.experiment.stacks import Sweep, timed, usual
from testbed.experiment.toml_files import (
    name_of,
)


def cells(scenario: Scenario) -> list[Cell]:
    """Return the cells of a scenario, with seeds innermost and included cells last."""
    axes = axes_of(scenario)
    product_of = {_names_of(c): c for c in product(*(a.items() for a in axes.values()))}
    chosen = {
        names: combination
        for names, combination in product_of.items()
        if not any(_is_meant(names, rule) for rule in scenario.exclude)
    }
    for rule in scenario.include:
        narrowed = {**axes, **{axis: _load_one(axis, name) for axis, name in rule.items()}}
        chosen |= {_names_of(c): c for c in product(*(a.items() for a in narrowed.values()))}
    if not chosen:
        raise ScenarioError(f"{scenario.name}.toml: exclude: it leaves no call to make")
    compares_links, compares_topologies = (
        len({names[axis] for names in chosen}) > 1 for axis in (-2, -1)
    )
    found = []
    for (_, messenger), (_, choice), (_, censor), (name, links), (_, topology) in chosen.values():
        check_nats(messenger, links, topology)
        named = replace(links, name=name) if compares_links else links
        found += [
            Cell(
                messenger,
                choice,
                restriction,
                named,
                seed,
                scenario.duration_s,
                scenario.said,
                topology,
                compares_topologies,
                scenario.other_traffic,
                scenario.speech,
                local_time,
            )
            for restriction, local_time in timed(censor, scenario.local_times)
            for seed in scenario.seeds
        ]
    for choice in {str(cell.transport): cell.transport for cell in found}.values():
        load_transport(choice)
    asked = ((cell_id(cell), _in_words(cell), cell) for cell in found)
    return list(by_name(f"{scenario.name}.toml: cells", asked).values())


def _in_words(cell: Cell) -> str:
    """Return a description of a cell for error messages."""
    where = f"{cell.censor.name} over {cell.links.name}".removesuffix(" over ")
    return f"{cell.messenger.name}, {cell.transport}, {where}, {cell.topology}, seed {cell.seed}"


def axes_of(scenario: Scenario) -> dict[Axis, dict[str, Any]]:
    """Return the values on each axis by name, in the order of the axes."""
    source = f"{scenario.name}.toml"
    read = [(name, load_messenger(name)) for name in scenario.messengers]
    messengers = [(messenger.name, name, messenger) for name, messenger in read]
    censors = [found for entry in scenario.censors for found in _censors(entry, source)]
    return {
        "messenger": by_name(f"{source}: messengers", messengers),
        "transport": {str(choice): choice for choice in transport_choices(scenario.transports)},
        "censor": by_name(f"{source}: censors", censors),
        "links": scenario.link_sets,
        "topology": {name: name for name in scenario.topologies},
    }


def _load_one(axis: Axis, name: str) -> dict[str, object]:
    """Load a value that an `include` entry names; return it by its name on the axis."""
    load: dict[Axis, Callable[[str], object]] = {
        "messenger": load_messenger,
        "transport": transport_choice,
        "censor": load_any_censor,
        "links": load_links,
        "topology": _topology,
    }
    return {name_on(axis, name): load[axis](name)}


def _topology(name: str) -> str:
    if name not in (known := get_args(Topology)):
        raise ScenarioError(f"no topology {name!r}; {there_are(name, known)}")
    return name


def _names_of(combination: Iterable[tuple[str, object]]) -> tuple[str, ...]:
    return tuple(name for name, _ in combination)


def cell_id(cell: Cell) -> str:
    """Return a cell's name within its scenario, which is safe as a folder name."""
    restriction = f"{cell.censor.name} over {cell.links.name}".removesuffix(" over ")
    if cell.compares_topologies:
        restriction += f" {cell.topology}"
    parts = (cell.messenger.name, str(cell.transport), restriction, f"seed {cell.seed}")
    return "--".join(map(as_file_name, parts))


def _censors(entry: str | Sweep, source: str) -> Iterator[Asked[AnyCensor]]:
    """Yield each censor of an entry of a scenario."""
    if isinstance(entry, Sweep):
        yield from entry.of(load_any_censor(entry.name), source)
        return
    censor = load_any_censor(entry)
    yield censor.name, entry, censor


def _is_meant(names: Iterable[str], rule: Mapping[Axis, str]) -> bool:
    """Return whether a combination, given by its names in axis order, matches all that is named."""
    by_axis = dict(zip(get_args(Axis), names, strict=True))
    return all(by_axis[axis] == name_on(axis, name) for axis, name in rule.items())


def name_on(axis: Axis, text: str) -> str:
    """Return the name on an axis of what people write: a name in any form, or a path."""
    forms: Mapping[Axis, Callable[[str], str]] = {
        "transport": name_as_shown,
        "censor": usual,
        "links": links_name,
    }
    return forms.get(axis, name_of)(text)
