"""Read scenarios, profiles and messengers from TOML files, by their names or paths.

A wrong file raises one `ScenarioError` with the file, the key and what was expected.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BeforeValidator, Field

from testbed.call.messenger import Messenger
from testbed.censor import local_time as time_of_day
from testbed.censor.profile import Profile
from testbed.censor.stack import AnyCensor
from testbed.experiment.cell import OtherTraffic, Said, Topology
from testbed.experiment.choosing import (
    Entries,
    read_entries,
)
from testbed.experiment.explanations import ScenarioError, TomlTable, by_name
from testbed.experiment.link import Links
from testbed.experiment.link_files import LinkFiles, links_name
from testbed.experiment.name_lists import with_lists
from testbed.experiment.stacks import StackFile, Sweep, any_censor
from testbed.experiment.toml_files import (
    check_all_different,
    path_of,
    read_known,
    stems,
    table_of,
    tables_of,
    validated,
)

ROOT = Path(__file__).resolve().parents[2]
"""The folder with the packages `testbed` and `transports`: a checkout, or `site-packages`."""
IS_CHECKOUT = (ROOT / "pyproject.toml").is_file()
SCENARIOS = ROOT / "scenarios" if IS_CHECKOUT else ROOT / "testbed" / "scenarios"
"""In a checkout they are next to the packages, in a wheel inside `testbed`."""
RESULTS = (ROOT if IS_CHECKOUT else Path.cwd()) / "results"
"""The default place for the folders of runs."""
DEMO = "ru-calls-2025-08"
"""The scenario of `testbed demo`."""
CENSORS = SCENARIOS / "censors"
STACKS = SCENARIOS / "stacks"
NAME_LISTS = SCENARIOS / "lists"
MESSENGERS = SCENARIOS / "messengers"
LINK_FILES = LinkFiles(SCENARIOS)

T = TypeVar("T")
Axis = Literal["messenger", "transport", "censor", "links", "topology"]
_FORBID_UNKNOWN_KEYS = {"extra": "forbid"}
_ALL_DIFFERENT = (
    *("seeds", "messengers", "transports", "censors", "links"),
    *("topologies", "other_traffic", "local_time"),
)
"""The keys of a scenario whose values must not be repeated."""


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
    transports: Annotated[Entries, Field(min_length=1), BeforeValidator(read_entries)] = ("direct",)
    """A list of names and of tables with `name` and `parameters`, or named tables."""
    censors: Annotated[tuple[str | Sweep, ...], Field(min_length=1)] = ("open",)
    """Profiles, stacks of them in series, from the users outwards (`"a + b"`), and sweeps."""
    links: Links | str | Annotated[tuple[str, ...], Field(min_length=1)] = "home-fibre"
    """A link set in `scenarios/links/`, several to compare, or the links themselves. In
    `"SET behind A and B"`, A and B are the NATs of both ends (`scenarios/nats/`)."""
    topologies: Annotated[tuple[Topology, ...], Field(min_length=1)] = ("one-sided",)
    """Where the ends of a call are; several are compared."""
    exclude: tuple[Mapping[Axis, str], ...] = ()
    """Cells to leave out: those that match all axes named in an entry."""
    include: tuple[Mapping[Axis, str], ...] = ()
    """Cells to add, even excluded ones: the named values, with all values of the other axes."""
    said: Said = "speech"
    """What is said in the calls."""
    other_traffic: tuple[OtherTraffic, ...] = ()
    """Other traffic during each call, besides its chat, to see whether it is harmed."""
    speech: str = ""
    """The path of a sound file; empty: Debian's clips of speech (`testbed.audio.speech`)."""
    local_time: str | Annotated[tuple[str, ...], Field(min_length=1)] = time_of_day.DEFAULT
    """The time of day inside the country when calls are made, or several to compare. It matters
    only for censors that behave differently at different hours."""
    name: str = Field(default="", kw_only=True)
    """The file's name."""

    def __post_init__(self) -> None:
        for each in self.local_times:
            time_of_day.hours(each)
        for name in _ALL_DIFFERENT:
            if isinstance(values := getattr(self, name), tuple):
                check_all_different(name, values)

    @property
    def local_times(self) -> tuple[str, ...]:
        """The times of day that are compared."""
        return (self.local_time,) if isinstance(self.local_time, str) else self.local_time

    @property
    def link_sets(self) -> dict[str, Links]:
        """The links by name, as read from their files; inline links have an empty name."""
        if isinstance(self.links, Links):
            return {"": LINK_FILES.sealed(self.links)}
        names = (self.links,) if isinstance(self.links, str) else self.links
        asked = ((links_name(n), n, load_links(n)) for n in names)
        return by_name(f"{self.name}.toml: links", asked)


def checkout(needed_for: str) -> Path:
    """Return the root of the project's checkout, which has files that no package has.

    Raises:
        ScenarioError: The testbed was installed as a package.
    """
    if not IS_CHECKOUT:
        raise ScenarioError(f"{needed_for} needs a checkout of the project: use its ./lab")
    return ROOT


def scenario_path(name_or_path: str) -> Path:
    """Return the path of a scenario's file, given as such or by its name in `scenarios/`."""
    return path_of(name_or_path, SCENARIOS)


def load_scenario(name_or_path: str) -> Scenario:
    """Read a scenario by its name in `scenarios/` or by the path of its file."""
    return _load(scenario_path(name_or_path), Scenario, "scenario")


def load_censor(name: str) -> Profile:
    """Read a censor profile by its name in `scenarios/censors/`, or by the path of its file.

    In a file that is `like` another, a rule replaces the other file's rule of the same name; rules
    with new names come after all of those.
    """
    path = path_of(name, CENSORS)
    base, content = _read_like(path, CENSORS, "censor profile")
    rules = tables_of(path, content, "rules")
    if base is not None:
        both = (*tables_of(path, base, "rules"), *rules)
        rules = list({str(rule.get("name")): rule for rule in both}.values())
    rules = with_lists(path, rules, NAME_LISTS)
    return validated(path, {**(base or {}), **content, "rules": rules}, Profile)


def load_any_censor(text: str) -> AnyCensor:
    """Read what a text such as `"ru-calls-2025-08 + ru-16kb-2025"` names, in series."""
    return any_censor(text, stack_names(), load_stack_file, load_censor)


def load_stack_file(name: str) -> StackFile:
    """Read the file of a stack by its name in `scenarios/stacks/`."""
    return _load(STACKS / f"{name}.toml", StackFile, "stack")


def load_messenger(name: str) -> Messenger:
    """Read a messenger by its name in `scenarios/messengers/`, or by the path of its file.

    A file that is `like` another inherits the keys that it does not have; those that it has need
    their own evidence.
    """
    path = path_of(name, MESSENGERS)
    base, content = _read_like(path, MESSENGERS, "messenger")
    if base is not None:
        inherited = {k: v for k, v in table_of(path, base, "evidence").items() if k not in content}
        evidence = {**inherited, **table_of(path, content, "evidence")}
        content = {**base, **content, "evidence": evidence}
    return validated(path, content, Messenger)


def _read_like(path: Path, folder: Path, what: str) -> tuple[TomlTable | None, TomlTable]:
    """Return the content of the file that this one is `like`, if any, and its own content.

    Each file has its own date of review.

    Raises:
        ScenarioError: There is no such file, the other one is itself like a third, or the date of
            the review is missing.
    """
    content = _read(path, what)
    if "reviewed" not in content:
        raise ScenarioError(
            f"{path}: reviewed: missing: the date of the last check against its sources, "
            'such as reviewed = "2026-11-30"'
        )
    if (other := content.pop("like", None)) is None:
        return None, content
    try:
        base = _read(path_of(str(other), folder), what)
    except ScenarioError as error:
        raise ScenarioError(f"{path}: like: {error}") from None
    if "like" in base:
        raise ScenarioError(f"{path}: like: {other!r} is itself like {base['like']!r}")
    return base, content


def link_set_names() -> list[str]:
    """Return the names of the link sets."""
    return stems(LINK_FILES.sets)


def load_links(text: str) -> Links:
    """Read links by the name of their set, with NATs if the text names any (`LinkFiles.links`)."""
    return LINK_FILES.links(text)


def scenario_names() -> list[str]:
    """Return the names of the scenarios that come with the project."""
    return stems(SCENARIOS)


def censor_names() -> list[str]:
    """Return the names of the censor profiles."""
    return stems(CENSORS)


def stack_names() -> list[str]:
    """Return the names of the stacks that have a file."""
    return stems(STACKS)


def any_censor_names() -> list[str]:
    """Return the names of all that a scenario's `censors` may name: profiles and stacks."""
    return sorted([*censor_names(), *stack_names()])


def messenger_names() -> list[str]:
    """Return the names of the messengers."""
    return stems(MESSENGERS)


def _load(path: Path, kind: type[T], what: str) -> T:
    return validated(path, _read(path, what), kind)


def _read(path: Path, what: str) -> TomlTable:
    is_ours = path.parent in (SCENARIOS, CENSORS, STACKS, MESSENGERS)
    names = any_censor_names() if path.parent == CENSORS else stems(path.parent) if is_ours else []
    return read_known(path, what, path.parent if is_ours else SCENARIOS, names)
