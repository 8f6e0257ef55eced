"""What a run was made of: the content of `run.json`, typed from end to end.

Two runs are comparable if what they were made of is equal; `inputs` and `versions` say so in short,
and `definitions` hold what was hashed, so that a run can be read without the files it came from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from pydantic import JsonValue, TypeAdapter

from testbed.call.messenger import Messenger
from testbed.censor.profile import Profile
from testbed.experiment.cell import Links, OtherTraffic, Said, Topology
from testbed.record.cell_record import SCHEMA, parsed

_CLOCKS = {"virtual": "virtual time", "host": "real time on the host's kernel (not repeatable)"}


@dataclass(frozen=True)
class ScenarioTitle:
    """What a scenario is called and what it asks."""

    name: str
    title: str
    question: str


@dataclass(frozen=True)
class KernelBuild:
    """The kernel on which the cells ran."""

    kind: Literal["virtual", "host"]
    version: str
    build: str = ""
    """The key of its build; empty: the host's."""

    @property
    def clock(self) -> str:
        """By which clock the cells went, in words, and so whether they repeat."""
        return _CLOCKS[self.kind]


@dataclass(frozen=True)
class SpeechSource:
    """What is said in the calls."""

    label: str
    file: str
    """A person's own file; empty: the project's speech."""
    sha256: str


@dataclass(frozen=True)
class TransportDefinition:
    """A transport that its name alone does not define."""

    source: str = ""
    """The text of its file, if that is not in `transports/`."""
    kind: str = ""
    """What stands behind a name that the scenario gave."""
    parameters: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True)
class Definitions:
    """What was run, whole; each mapping by name."""

    duration_s: float
    said: Said
    other_traffic: tuple[OtherTraffic, ...]
    speech: SpeechSource
    links: Mapping[str, Links]
    """The only set of a run has no name."""
    topologies: Mapping[str, Topology]
    """The only one of a run has no name."""
    messengers: Mapping[str, Messenger]
    censors: Mapping[str, Profile]
    transports: Mapping[str, TransportDefinition]

    def merged(self, other: Definitions) -> Definitions:
        """Return these with what another one of the same scenario has beside them."""
        return replace(
            other,
            links={**self.links, **other.links},
            topologies={**self.topologies, **other.topologies},
            messengers={**self.messengers, **other.messengers},
            censors={**self.censors, **other.censors},
            transports={**self.transports, **other.transports},
        )


@dataclass(frozen=True)
class Manifest:
    """What a run is made of."""

    scenario: ScenarioTitle
    kernel: KernelBuild
    versions: Mapping[str, str]
    """Of the code, its libraries and the programs that its cells need."""
    inputs: Mapping[str, str]
    """A hash of each of the definitions, by kind and name: `censor open`, `duration_s`."""
    definitions: Definitions
    cells: tuple[str, ...]
    """The ids of the cells, in the scenario's order."""
    schema: Literal[1] = SCHEMA

    def changed(self, other: Manifest) -> list[str]:
        """Name what both have and in which they differ, so that they cannot be one run."""
        found = [
            name
            for name, one, two in (
                ("kernel", self.kernel, other.kernel),
                ("scenario", self.scenario, other.scenario),
            )
            if one != two
        ]
        for mine, theirs in ((self.versions, other.versions), (self.inputs, other.inputs)):
            found += sorted(k for k in set(mine) & set(theirs) if mine[k] != theirs[k])
        return found

    def merged(self, other: Manifest) -> Manifest:
        """Return the manifest of a run that grew from this one by the cells of another."""
        return replace(
            other,
            versions={**self.versions, **other.versions},
            inputs={**self.inputs, **other.inputs},
            definitions=self.definitions.merged(other.definitions),
            cells=tuple(dict.fromkeys((*self.cells, *other.cells))),
        )

    def to_json(self) -> str:
        """Write the manifest as JSON."""
        return _MANIFESTS.dump_json(self, indent=1).decode() + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """Read what `to_json` wrote.

        Raises:
            ValueError: It is something else; the message names the first wrong key.
        """
        return parsed(_MANIFESTS, text)


_MANIFESTS = TypeAdapter(Manifest)
