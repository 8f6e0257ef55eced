"""Lists what a run was made of, as its manifest has it: each number with its source, versions."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from testbed.evidence import Confidence
from testbed.record.results import MANIFEST, CellResult, Run, clock_of

SURENESS: Mapping[str, str] = {
    "primary": "the authors' own text or artefact was read",
    "secondary": "quoted by a third party",
    "community": "many users report it, nobody proved it",
    "measured": "by this project",
    "assumed": "no source gives it",
}
"""What a confidence means, for people; as `testbed.evidence` has it."""
assert set(SURENESS) == set(get_args(Confidence))


@dataclass(frozen=True)
class Fact:
    """One number or choice, and where it comes from."""

    what: str
    value: str
    source: str
    confidence: str
    """A key of `SURENESS`; empty if the record does not say."""


@dataclass(frozen=True)
class Origin:
    """A profile, a messenger or a set of links, as it was run."""

    name: str
    """Fit for a link."""
    title: str
    description: str
    facts: Sequence[tuple[str, Sequence[Fact]]]
    """By rule, the facts."""
    digest: str
    """Of what was run."""


def censors(manifest: Mapping[str, Any]) -> list[Origin]:
    """Give the censor profiles of a run."""
    return [
        Origin(
            name,
            profile["title"],
            " ".join(profile["description"].split()),
            [*_inspection(profile), *((rule["name"], _rule(rule)) for rule in profile["rules"])],
            manifest["inputs"][f"censor {name}"],
        )
        for name, profile in _definitions(manifest, "censor ")
    ]


def messengers(manifest: Mapping[str, Any]) -> list[Origin]:
    """Give the messengers of a run."""
    return [
        Origin(
            name,
            messenger["title"],
            "",
            [("", _facts(messenger, messenger["evidence"]))],
            manifest["inputs"][f"messenger {name}"],
        )
        for name, messenger in _definitions(manifest, "messenger ")
    ]


def links(manifest: Mapping[str, Any]) -> list[Origin]:
    """Give the links of a run, whose sources are one text."""
    return [
        Origin(
            name,
            name or "The network links of all calls",
            content["source"],
            [("", [Fact(link, _value(content[link]), "", "") for link in _links(content)])],
            manifest["inputs"][f"links {name}".strip()],
        )
        for name, content in _definitions(manifest, "links")
    ]


def commands(run: Run, results: Sequence[CellResult]) -> list[str]:
    """Give the command lines that make a run and its report again."""
    manifest = run.manifest()
    name = manifest["scenario"]["name"]
    selected = [
        f"--{option} {_quoted(value)}" for option, value in _selection(run, results, manifest)
    ]
    return [
        " ".join((f"./lab run {name}", *selected)),
        f"./lab report results/{name}",
        f"./lab export results/{name}    # the same numbers as Parquet tables",
    ]


def versions(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Give the versions of all that a run was made with."""
    kernel = ", ".join(f"{name} {value}" for name, value in manifest["kernel"].items())
    return [("clock", clock_of(manifest)), ("kernel", kernel), *manifest["versions"].items()]


def digests(run: Run) -> list[tuple[str, str]]:
    """Give SHA-256 of the files that say what a run is, and of all its calls' records."""
    cells = hashlib.sha256()
    for path in sorted((run.folder / "cells").glob("*/cell.json")):
        cells.update(path.parent.name.encode() + b"\0" + path.read_bytes())
    named = [(name, run.folder / name) for name in (MANIFEST, "scenario.toml")]
    found = [(n, hashlib.sha256(p.read_bytes()).hexdigest()) for n, p in named if p.exists()]
    return [*found, ("all cells' names and cell.json, in order", cells.hexdigest())]


def _selection(
    run: Run, results: Sequence[CellResult], manifest: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """Give what a run was narrowed to, where its scenario names more."""
    try:
        asked = tomllib.loads((run.folder / "scenario.toml").read_text())
    except (OSError, tomllib.TOMLDecodeError):
        return
    contents = [result.content for result in results]
    ran = {
        "messenger": dict.fromkeys(c["messenger"]["name"] for c in contents),
        "transport": dict.fromkeys(c["transport"] for c in contents),
        "seed": dict.fromkeys(c["seed"] for c in contents),
    }
    for option, values in ran.items():
        if len(values) < len(asked.get(f"{option}s", ())):
            yield from ((option, str(value)) for value in values)


def _quoted(value: str) -> str:
    return f"'{value}'" if " " in value else value


def _definitions(manifest: Mapping[str, Any], kind: str) -> list[tuple[str, Mapping[str, Any]]]:
    definitions: Mapping[str, Any] = manifest.get("definitions", {})
    return [
        (key.removeprefix(kind).strip(), content)
        for key, content in definitions.items()
        if key.startswith(kind)
    ]


def _rule(rule: Mapping[str, Any]) -> list[Fact]:
    values = {**rule["action"], "match": rule["match"], "action": rule["action"]["kind"]}
    values |= {
        "from_s": rule.get("from_s"),
        "to_s": rule.get("to_s"),
        **_shares(rule["match"].get("share")),
    }
    return _facts(values, rule["evidence"])


def _shares(share: object) -> dict[str, object]:
    """Return a share by the names that its evidence may have: a table's as a whole, and by hour."""
    hours = share.items() if isinstance(share, Mapping) else ()
    return {"share": share, **{f"share.{hour}": value for hour, value in hours}}


def _inspection(profile: Mapping[str, Any]) -> Iterator[tuple[str, list[Fact]]]:
    inspection = profile.get("inspection") or {}
    if evidence := inspection.get("evidence"):
        yield "inspection", _facts(inspection, evidence)


def _facts(values: Mapping[str, Any], evidence: Mapping[str, Mapping[str, str]]) -> list[Fact]:
    return [
        Fact(key, _value(values.get(key)), fact["source"], fact["confidence"])
        for key, fact in evidence.items()
    ]


def _links(content: Mapping[str, Any]) -> list[str]:
    return [key for key, value in content.items() if isinstance(value, Mapping)]


def _value(value: object) -> str:
    """Write a value as a person reads it; of a table, what is given."""
    if isinstance(value, Mapping):
        given = {k: v for k, v in value.items() if v not in (None, False, "", [], ())}
        return ", ".join(f"{k} = {_value(v)}" for k, v in given.items()) or "everything"
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value))
    if isinstance(value, float):
        return f"{value:,.10g}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    return "" if value is None else str(value)
