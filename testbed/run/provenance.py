"""Determines the manifest of a run: its inputs and versions.

Each definition (messenger, transport, censor, links, …) is hashed on its own, and so is the code,
with each transport's file separate. Thus two runs can be compared entry by entry, and a run can be
extended as long as nothing that it already contains has changed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

from pydantic import JsonValue

from testbed import __version__
from testbed.audio.speech import voice
from testbed.call.engines import ENGINES
from testbed.call.messenger import Messenger
from testbed.censor.stack import AnyCensor
from testbed.experiment.cell import Cell, TransportChoice
from testbed.experiment.choosing import load_transport
from testbed.experiment.link import Links
from testbed.experiment.loading import programs_of
from testbed.experiment.scenario import ROOT, Scenario
from testbed.experiment.unfolding import cell_id
from testbed.guest.image.lock import read_lock
from testbed.guest.image.tree import our_image
from testbed.guest.kernel.builder import Kernel
from testbed.guest.programs import missing, version
from testbed.record.manifest import (
    Definitions,
    KernelBuild,
    Manifest,
    ScenarioTitle,
    SpeechSource,
    TransportDefinition,
)
from testbed.transport.interface import Program

HOSTS_PACKAGES = ("pyroute2", "mininet", "opuslib-next-bundled")
"""The packages by which the host plans networks and encodes speech."""
_IMAGES_PACKAGES = {
    "python": "python3.13",
    "trio": "pypi/trio",
    "NetfilterQueue": "python3-netfilterqueue",
}
"""The packages that matter most in guests, by their names in the lock."""
_PROGRAMS = (Program("nft", apt="nftables"),)


def manifest(scenario: Scenario, cells: Sequence[Cell], kernel: KernelBuild) -> Manifest:
    """Return the manifest of a run of a scenario's cells on a kernel."""
    definitions = _definitions(scenario, cells)
    return Manifest(
        ScenarioTitle(scenario.name, scenario.title, scenario.question),
        kernel,
        versions(programs(cells), transports_in_tree(cells)),
        {name: _hash(content) for name, content in _hashed(definitions)},
        definitions,
        tuple(cell_id(cell) for cell in cells),
    )


def laboratory_of(kernel: Kernel) -> KernelBuild:
    """Return what a run's record says of a guest kernel and of its lab image."""
    return KernelBuild("virtual", kernel.version, kernel.key, our_image().hash)


def laboratory_on_host() -> KernelBuild:
    """Return what a run's record says of the host's kernel and of its lab image."""
    return KernelBuild("host", os.uname().release, image=our_image().hash)


def _definitions(scenario: Scenario, cells: Sequence[Cell]) -> Definitions:
    said = voice(scenario.speech)
    path = str(Path(scenario.speech).resolve()) if scenario.speech else ""
    return Definitions(
        duration_s=scenario.duration_s,
        said=scenario.said,
        other_traffic=scenario.other_traffic,
        speech=SpeechSource(said.label, path, said.sha256),
        links={cell.links.name: cell.links for cell in cells},
        topologies={c.topology if c.compares_topologies else "": c.topology for c in cells},
        messengers={cell.messenger.name: cell.messenger for cell in cells},
        censors={cell.censor.name: cell.censor for cell in cells},
        transports=dict(pair for cell in cells for pair in _transport(cell.transport)),
    )


def _hashed(definitions: Definitions) -> Iterator[tuple[str, object]]:
    """Yield each definition to be hashed, after its kind and name."""
    yield "duration_s", definitions.duration_s
    yield "said", definitions.said
    yield "other traffic", list(definitions.other_traffic)
    yield "speech", asdict(definitions.speech)
    by_kind: dict[str, Mapping[str, Links | Messenger | AnyCensor | TransportDefinition]] = {
        "links": definitions.links,
        "messenger": definitions.messengers,
        "censor": definitions.censors,
        "transport": definitions.transports,
    }
    for kind, named in by_kind.items():
        for name, content in named.items():
            yield f"{kind} {name}".strip(), asdict(content)
    for name, topology in definitions.topologies.items():
        yield f"topology {name}".strip(), topology


def _transport(choice: TransportChoice) -> Iterator[tuple[str, TransportDefinition]]:
    """Yield the definition of a transport if it is outside the project or has its own title."""
    for one in _with_wrapped(choice):
        if one.source:
            yield one.name, TransportDefinition(source=one.source)
        if one.title:
            parameters = {key: _plain(value) for key, value in one.parameters.items()}
            yield one.title, TransportDefinition(kind=one.name, parameters=parameters)


def _with_wrapped(choice: TransportChoice) -> Iterator[TransportChoice]:
    yield choice
    for value in choice.parameters.values():
        if isinstance(value, TransportChoice):
            yield from _with_wrapped(value)


def _plain(value: JsonValue | TransportChoice) -> JsonValue:
    return str(value) if isinstance(value, TransportChoice) else value


def programs(cells: Sequence[Cell]) -> list[Program]:
    """Return the third-party programs that cells need."""
    found = dict.fromkeys(_PROGRAMS)
    for cell in cells:
        found.update(dict.fromkeys(ENGINES[cell.messenger.engine].programs))
    for choice in {str(cell.transport): cell.transport for cell in cells}.values():
        found.update(dict.fromkeys(programs_of(load_transport(choice))))
    return list(found)


def lacking(cells: Sequence[Cell]) -> str:
    """Return which programs of the cells are missing and what to do; empty if none is."""
    found = missing(programs(cells))
    return "; ".join(f"there is no program {name}: {remedy}" for name, remedy in found.items())


def is_foreign(choice: TransportChoice) -> bool:
    """Return whether a transport, or one that it wraps, is from outside the project."""
    return any(one.source for one in _with_wrapped(choice))


def transports_in_tree(cells: Sequence[Cell]) -> list[str]:
    """Return the names of the transports in `transports/` that cells use, wrapped ones included."""
    choices = {str(cell.transport): cell.transport for cell in cells}.values()
    return sorted(
        {one.name for choice in choices for one in _with_wrapped(choice) if not one.source}
    )


def versions(needed: Sequence[Program], transports: Sequence[str]) -> dict[str, str]:
    """Return the versions of the code, its libraries, some programs and transports.

    Each transport's file is an entry of its own, so a new transport does not affect other runs.
    """
    code = code_of("testbed/**/*.py", "transports/__init__.py")
    lock = read_lock()
    return {
        "testbed": f"{__version__} (code {code})",
        **{name: metadata.version(name) for name in HOSTS_PACKAGES},
        **{name: lock.version_of(file) for name, file in _IMAGES_PACKAGES.items()},
        **{program.name: version(program) for program in needed},
        **{f"transport {name}": code_of(f"transports/{name}.py") for name in transports},
    }


def code_of(*patterns: str) -> str:
    """Return the hash of the project's files that match patterns, with their names."""
    digest = hashlib.sha256()
    for pattern in patterns:
        for path in sorted(path for path in ROOT.glob(pattern) if path.name[0] != "."):
            digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _hash(content: object) -> str:
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
