"""Determines the manifest of a run: its inputs and versions.

Each definition (messenger, transport, censor, links, …) is hashed on its own, and so is the code,
with each transport's file separate. Thus two runs can be compared entry by entry, and a run can be
extended as long as nothing that it already contains has changed.
"""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

from pydantic import JsonValue

from testbed import __version__
from testbed.audio.speech import voice
from testbed.call.engines import ENGINES
from testbed.call.messenger import Messenger
from testbed.censor.profile import Profile
from testbed.experiment.cell import Cell, Links, TransportChoice
from testbed.experiment.choosing import load_transport
from testbed.experiment.explanations import ScenarioError
from testbed.experiment.loading import programs_of
from testbed.experiment.scenario import ROOT, Scenario, cell_id
from testbed.record.manifest import (
    Definitions,
    KernelBuild,
    Manifest,
    ScenarioTitle,
    SpeechSource,
    TransportDefinition,
)
from testbed.transport.interface import Program

_PACKAGES = ("trio", "pyroute2", "mininet", "NetfilterQueue", "opuslib-next-bundled")
_PROGRAMS = (Program("nft", apt="nftables"),)


def manifest(scenario: Scenario, cells: Sequence[Cell], kernel: KernelBuild) -> Manifest:
    """Return the manifest of a run of a scenario's cells on a kernel.

    Raises:
        ScenarioError: A program is not the file that its transport names.
    """
    definitions = _definitions(scenario, cells)
    return Manifest(
        ScenarioTitle(scenario.name, scenario.title, scenario.question),
        kernel,
        versions(programs(cells), transports_in_tree(cells)),
        {name: _hash(content) for name, content in _hashed(definitions)},
        definitions,
        tuple(cell_id(cell) for cell in cells),
    )


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
    by_kind: dict[str, Mapping[str, Links | Messenger | Profile | TransportDefinition]] = {
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
    """Return which programs of the cells are missing and how to install them; empty if none is."""
    missing = [program for program in programs(cells) if program.find() is None]
    return "; ".join(f"{program.name} is not installed: {program.remedy}" for program in missing)


def transports_in_tree(cells: Sequence[Cell]) -> list[str]:
    """Return the names of the transports in `transports/` that cells use, wrapped ones included."""
    choices = {str(cell.transport): cell.transport for cell in cells}.values()
    return sorted(
        {one.name for choice in choices for one in _with_wrapped(choice) if not one.source}
    )


def versions(needed: Sequence[Program], transports: Sequence[str]) -> dict[str, str]:
    """Return the installed versions of the code, its libraries, some programs and transports.

    Each transport's file is an entry of its own, so a new transport does not affect other runs.

    Raises:
        ScenarioError: A program is not the file that its transport names.
    """
    code = _code_hash("testbed/**/*.py", "transports/__init__.py")
    return {
        "testbed": f"{__version__} (code {code})",
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in _PACKAGES},
        **{program.name: _program_version(program) for program in needed},
        **{f"transport {name}": _code_hash(f"transports/{name}.py") for name in transports},
    }


def _program_version(program: Program) -> str:
    """Return the package's version and the program's hash; `missing` if it is not installed.

    Raises:
        ScenarioError: The program is not the file that its transport names.
    """
    path = program.find()
    if path is None:
        return "missing"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if program.sha256 not in ("", digest):
        raise ScenarioError(
            f"{path} is not the program that the testbed was tried with (sha256 {digest}, not "
            f"{program.sha256}): {program.remedy}"
        )
    asked = ["dpkg-query", "--show", "--showformat=${Version}", program.apt or program.name]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False)
    return f"{program.pypi or answer.stdout or 'unpackaged'} (sha256 {digest[:12]})"


def _code_hash(*patterns: str) -> str:
    digest = hashlib.sha256()
    for pattern in patterns:
        for path in sorted(path for path in ROOT.glob(pattern) if path.name[0] != "."):
            digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _hash(content: object) -> str:
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
