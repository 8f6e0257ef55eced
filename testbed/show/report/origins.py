"""List what a run was made of, from its manifest: each number with its source, and the versions."""

from __future__ import annotations

import hashlib
import shlex
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import get_args

from testbed.call.messenger import Messenger
from testbed.censor.profile import Inspection, Profile, Rule
from testbed.censor.stack import split_name
from testbed.evidence import Confidence, Evidence
from testbed.experiment.link import Link
from testbed.experiment.scenario import scenario_names
from testbed.record.manifest import Manifest
from testbed.record.results import MANIFEST, RecordedCell, Run

Value = object
"""Any value of a definition's field."""
SURENESS: Mapping[str, str] = {
    "primary": "the authors' own text or artefact was read",
    "secondary": "quoted by a third party",
    "community": "many users report it, nobody has proved it",
    "measured": "by this project",
    "assumed": "no source gives it",
}
"""The meaning of each confidence in `testbed.evidence`, for people."""
assert set(SURENESS) == set(get_args(Confidence))


@dataclass(frozen=True)
class Fact:
    """One number or choice, and where it comes from."""

    what: str
    value: str
    source: str
    confidence: str
    """A key of `SURENESS`; empty if the record has none."""


@dataclass(frozen=True)
class Origin:
    """A profile, a messenger or a set of links, as the run used it."""

    name: str
    """A name for links."""
    title: str
    description: str
    facts: Sequence[tuple[str, Sequence[Fact]]]
    """Each rule's name, with its facts."""
    digest: str
    """The digest of what the run used."""


def censors(manifest: Manifest) -> list[Origin]:
    """Return the censors of a run."""
    return [
        Origin(
            name,
            censor.title,
            " ".join(censor.description.split()),
            [fact for part in censor.parts for fact in _part(part, len(censor.parts) > 1)],
            manifest.inputs[f"censor {name}"],
        )
        for name, censor in manifest.definitions.censors.items()
    ]


def messengers(manifest: Manifest) -> list[Origin]:
    """Return the messengers of a run."""
    return [
        Origin(
            name,
            messenger.title,
            "",
            [("", _facts(messenger, messenger.evidence))],
            manifest.inputs[f"messenger {name}"],
        )
        for name, messenger in manifest.definitions.messengers.items()
    ]


def links(manifest: Manifest) -> list[Origin]:
    """Return the links of a run; each set has one text as its source."""
    return [
        Origin(
            name,
            name or "The network links of all calls",
            found.source,
            [
                (
                    "",
                    [
                        Fact(field.name, _value(link), "", "")
                        for field in fields(found)
                        if isinstance(link := getattr(found, field.name), Link)
                    ],
                )
            ],
            manifest.inputs[f"links {name}".strip()],
        )
        for name, found in manifest.definitions.links.items()
    ]


def commands(run: Run, cells: Sequence[RecordedCell]) -> list[str]:
    """Return the command lines that repeat a run and its report."""
    name = run.manifest().scenario.name
    selected = [word for option, value in _selection(run, cells) for word in (f"--{option}", value)]
    folder = f"results/{name}"
    if name in scenario_names():
        repeated = [name, *selected]
    else:  # a scenario of a person's own, of which the run keeps the text
        folder = f"results/{name}-again"
        repeated = [str(run.folder / "scenario.toml"), *selected, "--out", folder]
    return [
        shlex.join(["./lab", "run", *repeated]),
        shlex.join(["./lab", "report", folder]),
        shlex.join(["./lab", "export", folder]) + "    # the same numbers as Parquet tables",
    ]


def versions(manifest: Manifest) -> list[tuple[str, str]]:
    """Return the clock, the laboratory, the kernel, and the versions of all that a run used."""
    known = {name: value for name, value in asdict(manifest.kernel).items() if value}
    kernel = ", ".join(f"{name} {value}" for name, value in known.items())
    laboratory = ("laboratory", manifest.kernel.laboratory)
    clock = ("clock", manifest.kernel.clock)
    return [clock, laboratory, ("kernel", kernel), *manifest.versions.items()]


def digests(run: Run) -> list[tuple[str, str]]:
    """Return the SHA-256 of the files that define a run, and of all its calls' records."""
    named = [(name, run.folder / name) for name in (MANIFEST, "scenario.toml")]
    found = [(n, hashlib.sha256(p.read_bytes()).hexdigest()) for n, p in named if p.exists()]
    return [*found, ("all cells' names and cell.json, in order", run.digest())]


def _selection(run: Run, cells: Sequence[RecordedCell]) -> Iterator[tuple[str, str]]:
    """Yield the options by which a run was narrowed to a part of its scenario."""
    try:
        asked = tomllib.loads((run.folder / "scenario.toml").read_text())
    except (OSError, tomllib.TOMLDecodeError):
        return
    ran = {
        "messenger": dict.fromkeys(cell.record.messenger for cell in cells),
        "transport": dict.fromkeys(cell.record.transport for cell in cells),
        "censor": dict.fromkeys(split_name(cell.record.censor)[0] for cell in cells),
        "seed": dict.fromkeys(str(cell.record.seed) for cell in cells),
    }
    for option, values in ran.items():
        if len(values) < len(asked.get(f"{option}s", ())):
            yield from ((option, value) for value in values)


def _part(profile: Profile, is_one_of_several: bool) -> Iterator[tuple[str, list[Fact]]]:
    """Yield the facts of a profile's inspection and rules; in a stack, named by the profile."""
    before = f"{profile.name}: " if is_one_of_several else ""
    for name, facts in (*_inspection(profile), *((r.name, _rule(r)) for r in profile.rules)):
        yield before + name, facts


def _rule(rule: Rule) -> list[Fact]:
    values = {
        **{key: getattr(rule.action, key, None) for key in rule.evidence},
        **{"match": rule.match, "action": rule.action.kind},
        **{"from_s": rule.from_s, "to_s": rule.to_s, "share": rule.match.share},
        **rule.match.shares,
    }
    return _of(values, rule.evidence)


def _inspection(profile: Profile) -> Iterator[tuple[str, list[Fact]]]:
    if evidence := profile.inspection.evidence:
        yield "inspection", _facts(profile.inspection, evidence)


def _facts(of: Messenger | Inspection, evidence: Mapping[str, Evidence]) -> list[Fact]:
    return _of({key: getattr(of, key, None) for key in evidence}, evidence)


def _of(values: Mapping[str, Value], evidence: Mapping[str, Evidence]) -> list[Fact]:
    return [
        Fact(key, _value(values.get(key)), fact.source, fact.confidence)
        for key, fact in evidence.items()
    ]


def _value(value: Value) -> str:
    """Return a value as text for people; of a table, only the fields that are set."""
    if is_dataclass(value):
        given = {f.name: getattr(value, f.name) for f in fields(value)}
        shown = {k: v for k, v in given.items() if v not in (None, False, "", [], ())}
        return ", ".join(f"{k} = {_value(v)}" for k, v in shown.items()) or "everything"
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value))
    if isinstance(value, float):
        return f"{value:,.10g}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    return "" if value is None else str(value)
