"""Define a family of hypotheses about a censor and about messengers, as data with priors.

A family has parameters, each with a prior and a reason, and templates that use them: rules of a
censor, and numbers or files of messengers. Values for all parameters make one profile (`profile`)
and, for each messenger, one model (`messenger`). In a template the text `"$NAME"` stands for the
parameter's value; a key whose value is `any` is left out.

Which values are plausible is the business of `testbed.inference`, which knows nothing of rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, JsonValue, TypeAdapter, ValidationError
from pydantic_core import to_json

from testbed.call.messenger import Messenger
from testbed.censor.action import action_numbers
from testbed.censor.actions import AnyAction
from testbed.censor.match import Match
from testbed.censor.profile import Inspection, Profile, Rule
from testbed.evidence import Evidence, check_reviewed
from testbed.experiment.cell import Topology
from testbed.experiment.explanations import ScenarioError, TomlTable, describe, there_are
from testbed.experiment.reports import Calls, Observed, Setting, read_named
from testbed.experiment.scenario import SCENARIOS, load_messenger
from testbed.experiment.toml_files import validated

_FORBID_UNKNOWN_KEYS = {"extra": "forbid"}
HYPOTHESES = SCENARIOS / "hypotheses"
ANY = "any"
"""A value for which a template leaves its key out."""
T = TypeVar("T")
Value = str | float
Values = Mapping[str, Value]
"""A value for each parameter: the name of a choice, or a number."""


@dataclass(frozen=True)
class Parameter:
    """Something that is not known, with what was believed of it before any report."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    title: str
    """What it is, to be printed."""
    reason: str
    """Why this prior."""
    choices: Mapping[str, Annotated[float, Field(gt=0, le=1)]] = field(default_factory=dict)
    """Its possible values, each with its prior probability."""
    between: tuple[float, float] | None = None
    """The ends of a number that is uniform between them."""
    about: Literal["censor", "messengers"] = "censor"
    """What it is about. Middleboxes of different operators may differ; messengers do not."""

    def __post_init__(self) -> None:
        if bool(self.choices) == (self.between is not None):
            raise ValueError("give either choices or between")
        if self.choices and abs(sum(self.choices.values()) - 1) > 1e-9:
            raise ValueError(f"choices: their sum is {sum(self.choices.values()):g}, expected 1")
        if self.between is not None and not self.between[0] < self.between[1]:
            raise ValueError("between: the first number must be below the second")


@dataclass(frozen=True)
class RuleTemplate:
    """A rule of the censor, which is there if parameters have certain values."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    name: str
    match: Mapping[str, JsonValue]
    action: Mapping[str, JsonValue]
    reason: str
    when: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    """By parameter: the choice, or one of the choices, for which it is there."""

    def is_there(self, values: Values) -> bool:
        """Return whether the rule is there for values of the parameters."""
        wanted = {name: (w,) if isinstance(w, str) else w for name, w in self.when.items()}
        return all(values[name] in choices for name, choices in wanted.items())


@dataclass(frozen=True)
class MessengerTemplate:
    """A messenger of the reports: a file, and numbers that differ from the file's."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    file: str
    numbers: Mapping[str, JsonValue] = field(default_factory=dict)
    """By key of the file, such as `codec.frame_ms`."""


@dataclass(frozen=True)
class Misreports:
    """How often a class of sources is wrong: a probability that is uniform between two ends."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    between: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(le=0.5)]]
    reason: str


@dataclass(frozen=True)
class Observation:
    """Something that could be observed next, and what it would cost the person who does it."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    title: str
    messenger: str
    observed: Observed
    risk: Annotated[float, Field(ge=1)]
    """The risk to the observer, relative to reading what is already public (1)."""
    risks: str
    """Which risks, in words; what consent it needs."""
    confounders: str
    """What else could explain the answer."""
    transport: str = "direct"
    topology: Topology = "one-sided"
    calls: Calls = "most"
    public: bool = False
    """Whether somebody has published it, so that nobody needs to try."""

    @property
    def setting(self) -> Setting:
        """How its call is made."""
        return Setting(self.messenger, self.transport, self.topology)


@dataclass(frozen=True)
class Family:
    """A family of hypotheses (`scenarios/hypotheses/`)."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    title: str
    parameters: Mapping[str, Parameter]
    rules: tuple[RuleTemplate, ...]
    messengers: Mapping[str, MessengerTemplate]
    misreports: Mapping[str, Misreports]
    """By class of source."""
    alike: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(lt=1)]]
    """Between which values the correlation of two middleboxes' parameters is uniform: 0 is no
    relation between the middleboxes of two operators, 1 is one censor for all."""
    alike_reason: str
    inspection: Mapping[str, JsonValue] = field(default_factory=dict)
    """Values of a profile's `[inspection]`."""
    changes: tuple[str, ...] = ()
    """The days on which the censor is reported to have changed: before and after, middleboxes count
    as different ones."""
    observations: tuple[Observation, ...] = ()
    reviewed: str = field(default="", kw_only=True)
    """When it was last checked against its sources, such as `2026-11-30`."""
    name: str = field(default="", kw_only=True)
    """The file's name."""

    def __post_init__(self) -> None:
        check_reviewed(self.reviewed)
        for day in self.changes:
            try:
                date.fromisoformat(day)
            except ValueError:
                raise ValueError(f"changes: {day!r} is no day such as 2025-09-28") from None
        if not self.alike[0] <= self.alike[1]:
            raise ValueError("alike: the first number must not be above the second")
        for name in used_parameters(self):
            if name not in self.parameters:
                hint = there_are(name, self.parameters)
                raise ValueError(f"{name!r} is used, but is no parameter; {hint}")
        for template in self.rules:
            self._check_when(template)

    def _check_when(self, template: RuleTemplate) -> None:
        for name, wanted in template.when.items():
            known = self.parameters[name].choices
            for choice in (wanted,) if isinstance(wanted, str) else wanted:
                if choice not in known:
                    hint = there_are(choice, known)
                    raise ValueError(f"rule {template.name!r}: when: {name}: no {choice!r}; {hint}")

    @property
    def names(self) -> Sequence[str]:
        """The names of the parameters, in the file's order."""
        return list(self.parameters)

    def period(self, day: str) -> int:
        """Return the number of the period in which a day is, from 0."""
        return sum(change <= day for change in self.changes)


def used_parameters(family: Family) -> Iterator[str]:
    """Yield the names of the parameters that templates of a family use, some more than once."""
    for template in family.rules:
        yield from template.when
        yield from _references((template.match, template.action))
    yield from _references(family.inspection)
    for messenger in family.messengers.values():
        yield from _references((messenger.file, messenger.numbers))


def messenger_parameters(family: Family, name: str) -> list[str]:
    """Return the names of the parameters on which the model of a messenger depends."""
    template = family.messengers[name]
    return list(dict.fromkeys(_references((template.file, template.numbers))))


def _references(content: object) -> Iterator[str]:
    if isinstance(content, str) and content.startswith("$"):
        yield content[1:]
    elif isinstance(content, Mapping):
        for value in content.values():
            yield from _references(value)
    elif isinstance(content, list | tuple):
        for value in content:
            yield from _references(value)


def profile(family: Family, values: Values, name: str) -> Profile:
    """Return the censor that values of the parameters describe.

    Raises:
        ScenarioError: A template makes no valid rule of them.
    """
    rules = tuple(_rule(family, each, values) for each in family.rules if each.is_there(values))
    given = filled(family.inspection, values)
    reason = {"source": f"hypothesis of {family.name}", "confidence": "assumed"}
    evidence = dict.fromkeys(given, reason)
    inspection = _read({**given, "evidence": evidence}, Inspection, family, "inspection")
    return Profile(family.title, f"One of the family {family.name}.", rules, inspection, name=name)


def _rule(family: Family, template: RuleTemplate, values: Values) -> Rule:
    where = f"rule {template.name}"
    match = _read(filled(template.match, values), Match, family, f"{where}: match")
    action: AnyAction = _read_action(filled(template.action, values), family, f"{where}: action")
    needed = ("match", "action", *action_numbers(action), *match.shares)
    evidence = {key: Evidence(template.reason, "assumed") for key in needed}
    return Rule(template.name, match, action, evidence)


def filled(content: Mapping[str, JsonValue], values: Values) -> dict[str, JsonValue]:
    """Return a template's content with the values of parameters in the place of their names."""
    found = {key: _filled(value, values) for key, value in content.items()}
    return {key: value for key, value in found.items() if value != ANY}


def _filled(content: JsonValue, values: Values) -> JsonValue:
    if isinstance(content, dict):
        return filled(content, values)
    if isinstance(content, list):
        return [_filled(each, values) for each in content]
    if not isinstance(content, str) or not content.startswith("$"):
        return content
    value = values[content[1:]]
    return int(value) if isinstance(value, str) and value.isdecimal() else value


_ACTIONS: TypeAdapter[AnyAction] = TypeAdapter(AnyAction)


def _read_action(content: dict[str, JsonValue], family: Family, where: str) -> AnyAction:
    return _read_by(_ACTIONS, content, family, where)


def _read(content: TomlTable, kind: type[T], family: Family, where: str) -> T:
    return _read_by(TypeAdapter(kind), content, family, where)


def _read_by(kind: TypeAdapter[T], content: TomlTable, family: Family, where: str) -> T:
    try:
        return kind.validate_json(to_json(content), strict=True)
    except ValidationError as error:
        raise ScenarioError(f"{family.name}.toml: {where}: {describe(error, content)}") from None


def messenger(family: Family, name: str, values: Values) -> Messenger:
    """Return the model of a messenger that values of the parameters describe.

    Raises:
        ScenarioError: The family has no such messenger, or its file lacks a key that is to differ.
    """
    if name not in family.messengers:
        hint = there_are(name, family.messengers)
        raise ScenarioError(f"{family.name}.toml: there is no messenger {name!r}; {hint}")
    where = f"messengers.{name}"
    template = family.messengers[name]
    content = filled({"file": template.file, **template.numbers}, values)
    found = load_messenger(str(content.pop("file")))
    changed = asdict(found)
    for path, value in content.items():
        _change(changed, path, value, f"{family.name}.toml: {where}")
    return _read(changed, Messenger, family, where) if content else found


def _change(messenger: TomlTable, path: str, value: JsonValue, where: str) -> None:
    """Change the number at a path, such as `codec.frame_ms`, in a messenger's content."""
    key, _, inner = path.partition(".")
    table = None if key == "evidence" else messenger.get(key)
    if not isinstance(table, dict) or inner not in table:
        raise ScenarioError(f"{where}: numbers: there is no {path!r}, such as codec.frame_ms")
    before = table[inner]
    if isinstance(before, bool) != isinstance(value, bool):
        raise ScenarioError(f"{where}: numbers: {path} is {value}; it must be like {before}")
    if before != value:
        table[inner] = value
        reason = Evidence(f"{path} is a hypothesis ({where})", "assumed")
        messenger["evidence"] = {**messenger["evidence"], key: asdict(reason)}


def settings(family: Family, used: Iterable[Setting]) -> list[Setting]:
    """Return the different settings of reports and of a family's observations, in order."""
    return list(dict.fromkeys([*used, *(each.setting for each in family.observations)]))


def family_names() -> list[str]:
    """Return the names of the families that come with the project."""
    return sorted(path.stem for path in HYPOTHESES.glob("*.toml") if path.name[0] not in "._")


def load_family(name_or_path: str) -> Family:
    """Read a family by its name in `scenarios/hypotheses/` or by the path of its file.

    Raises:
        ScenarioError: There is no such file, or it is wrong.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = HYPOTHESES / f"{name_or_path}.toml"
    content = read_named(path, "family of hypotheses", family_names())
    family = validated(path, content, Family)
    _check(family)
    return family


def _check(family: Family) -> None:
    """Check that the templates make rules and messengers, of one value for each parameter.

    Raises:
        ScenarioError: One does not.
    """
    values = {
        name: next(iter(each.choices)) if each.between is None else each.between[1]
        for name, each in family.parameters.items()
    }
    profile(replace(family, rules=tuple(replace(r, when={}) for r in family.rules)), values, "all")
    for name in {*family.messengers, *(each.messenger for each in family.observations)}:
        messenger(family, name, values)
