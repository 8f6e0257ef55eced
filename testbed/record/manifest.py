"""The manifest of a run: the content of `run.json`, typed from end to end.

Two runs are comparable if they have the same inputs and versions. `inputs` holds a hash of each
definition, and `definitions` holds the definitions themselves, so that a run can be read without
the files from which it was made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Literal

from pydantic import JsonValue, TypeAdapter

from testbed.call.messenger import Messenger
from testbed.censor.stack import AnyCensor
from testbed.experiment.cell import OtherTraffic, Said, Topology
from testbed.experiment.link import Links
from testbed.record.cell_record import SCHEMA, parsed
from testbed.record.checksums import check_sum, with_sum

_CLOCKS = {"virtual": "virtual time", "host": "real time on the host's kernel (not repeatable)"}


@dataclass(frozen=True)
class ScenarioTitle:
    """A scenario's name and the question that it answers."""

    name: str
    title: str
    question: str


@dataclass(frozen=True)
class KernelBuild:
    """The kernel on which the cells ran."""

    kind: Literal["virtual", "host"]
    version: str
    build: str = ""
    """The key of the guest kernel's build; empty for the host's kernel."""
    image: str = ""
    """The hash of the lab image, which has all other programs that cells run."""

    @property
    def clock(self) -> str:
        """A description of the clock on which the cells ran, which decides whether they repeat."""
        return _CLOCKS[self.kind]

    @property
    def laboratory(self) -> str:
        """The kernel and the image together, by which equal cells are equal to the byte."""
        text = f"{self.kind} {self.version} {self.build} {self.image}"
        return sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class SpeechSource:
    """The speech that is used in the calls."""

    label: str
    file: str
    """The user's own file; empty for the project's speech."""
    sha256: str


@dataclass(frozen=True)
class TransportDefinition:
    """A transport that its name alone does not identify."""

    source: str = ""
    """The text of its file, if the file is not in `transports/`."""
    kind: str = ""
    """The transport to which a name chosen by the scenario refers."""
    parameters: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True)
class Definitions:
    """The complete definitions of all that was run; each mapping is keyed by name."""

    duration_s: float
    said: Said
    other_traffic: tuple[OtherTraffic, ...]
    speech: SpeechSource
    links: Mapping[str, Links]
    """If a run has only one set, its name is empty."""
    topologies: Mapping[str, Topology]
    """If a run has only one topology, its name is empty."""
    messengers: Mapping[str, Messenger]
    censors: Mapping[str, AnyCensor]
    transports: Mapping[str, TransportDefinition]

    def merged(self, other: Definitions) -> Definitions:
        """Return these definitions together with those of another run of the same scenario."""
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
    """Everything that determines the results of a run."""

    scenario: ScenarioTitle
    kernel: KernelBuild
    versions: Mapping[str, str]
    """The versions of the code, its libraries and the programs that the cells need."""
    inputs: Mapping[str, str]
    """A hash of each definition, by its kind and name, such as `censor open` or `duration_s`."""
    definitions: Definitions
    cells: tuple[str, ...]
    """The ids of the cells, in the scenario's order."""
    schema: Literal[1] = SCHEMA

    def changed(self, other: Manifest) -> list[str]:
        """Return the names of the entries that both manifests have but that differ.

        If there are any, the two cannot be one run.
        """
        found = [
            name
            for name, one, two in (
                ("laboratory", self.kernel, other.kernel),
                ("scenario", self.scenario, other.scenario),
            )
            if one != two
        ]
        for mine, theirs in ((self.versions, other.versions), (self.inputs, other.inputs)):
            found += sorted(k for k in set(mine) & set(theirs) if mine[k] != theirs[k])
        return found

    def merged(self, other: Manifest) -> Manifest:
        """Return the manifest of this run extended by the cells of another."""
        return replace(
            other,
            versions={**self.versions, **other.versions},
            inputs={**self.inputs, **other.inputs},
            definitions=self.definitions.merged(other.definitions),
            cells=tuple(dict.fromkeys((*self.cells, *other.cells))),
        )

    def to_json(self) -> str:
        """Return the manifest as JSON, with a checksum."""
        return with_sum(_MANIFESTS.dump_python(self, mode="json"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """Parse a manifest that `to_json` wrote; one without a checksum is taken as it is.

        Raises:
            ValueError: The text is not a manifest, or has changed since it was written.
        """
        manifest = parsed(_MANIFESTS, text)
        check_sum(text, cls)
        return manifest


_MANIFESTS = TypeAdapter(Manifest)
