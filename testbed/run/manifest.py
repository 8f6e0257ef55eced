"""What a run is made of: inputs and versions, so that it can be repeated or told from another."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from testbed import __version__
from testbed.audio.speech import voice
from testbed.call.engines import ENGINES
from testbed.experiment.cell import Cell, TransportChoice
from testbed.experiment.choosing import load_transport
from testbed.experiment.explanations import ScenarioError
from testbed.experiment.loading import programs_of
from testbed.experiment.scenario import ROOT, Scenario, cell_id
from testbed.record.results import SCHEMA
from testbed.transport.interface import Program

_PACKAGES = ("trio", "pyroute2", "mininet", "NetfilterQueue", "opuslib-next-bundled")
_PROGRAMS = (Program("nft", apt="nftables"),)


def manifest(
    scenario: Scenario, cells: Sequence[Cell], kernel: Mapping[str, str]
) -> dict[str, Any]:
    """Describe a run; `kernel` has the kind (`virtual` or `host`) and what tells its build.

    `inputs` has a hash for each messenger, censor and so on, `definitions` what was hashed.
    ScenarioError: a program is not the file that its transport names.
    """
    used_links = {cell.links.name: cell.links for cell in cells}
    topologies = {
        cell.topology if cell.compares_topologies else "": cell.topology for cell in cells
    }
    definitions = {
        "duration_s": scenario.duration_s,
        "said": scenario.said,
        "other traffic": list(scenario.other_traffic),
        "speech": _speech(scenario.speech),
        **{f"links {name}".strip(): asdict(links) for name, links in used_links.items()},
        **{f"topology {name}".strip(): topology for name, topology in topologies.items()},
        **{f"messenger {cell.messenger.name}": asdict(cell.messenger) for cell in cells},
        **{f"censor {cell.censor.name}": asdict(cell.censor) for cell in cells},
        **{key: text for cell in cells for key, text in _transport(cell.transport)},
    }
    return {
        "schema": SCHEMA,
        "scenario": {
            "name": scenario.name,
            "title": scenario.title,
            "question": scenario.question,
        },
        "kernel": dict(kernel),
        "versions": versions(programs(cells), transports_in_tree(cells)),
        "inputs": {name: _hash(content) for name, content in definitions.items()},
        "definitions": definitions,
        "cells": [cell_id(cell) for cell in cells],
    }


def _speech(file: str) -> dict[str, str]:
    """Tell what is said in a run's calls, where it is from, and its hash."""
    said = voice(file)
    path = str(Path(file).resolve()) if file else ""
    return {"label": said.label, "file": path, "sha256": said.sha256}


def _transport(choice: TransportChoice) -> Iterator[tuple[str, Any]]:
    """Give the text of a transport from elsewhere, and what stands behind a title."""
    for one in _with_wrapped(choice):
        if one.source:
            yield f"transport {one.name}", one.source
        if one.title:
            parameters = {key: _plain(value) for key, value in one.parameters.items()}
            yield f"transport {one.title}", {"kind": one.name, "parameters": parameters}


def _with_wrapped(choice: TransportChoice) -> Iterator[TransportChoice]:
    yield choice
    for value in choice.parameters.values():
        if isinstance(value, TransportChoice):
            yield from _with_wrapped(value)


def _plain(value: object) -> object:
    return str(value) if isinstance(value, TransportChoice) else value


def programs(cells: Sequence[Cell]) -> list[Program]:
    """Name the foreign programs that cells need."""
    found = dict.fromkeys(_PROGRAMS)
    for cell in cells:
        found.update(dict.fromkeys(ENGINES[cell.messenger.engine].programs))
    for choice in {str(cell.transport): cell.transport for cell in cells}.values():
        found.update(dict.fromkeys(programs_of(load_transport(choice))))
    return list(found)


def lacking(cells: Sequence[Cell]) -> str:
    """Say what programs that cells need are not installed, and how to get them; empty: none."""
    missing = [program for program in programs(cells) if program.find() is None]
    return "; ".join(f"{program.name} is not installed: {program.remedy}" for program in missing)


def transports_in_tree(cells: Sequence[Cell]) -> list[str]:
    """Name the transports of `transports/` that cells use, and those that these wrap."""
    choices = {str(cell.transport): cell.transport for cell in cells}.values()
    return sorted(
        {one.name for choice in choices for one in _with_wrapped(choice) if not one.source}
    )


def versions(needed: Sequence[Program], transports: Sequence[str]) -> dict[str, str]:
    """Say of what version the code, its libraries, some programs and transports are here.

    A transport is a file by itself, so that a new one changes no run of others.

    ScenarioError: a program is not the file that its transport names.
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
    """Give the package's version and the program's hash; `missing` if it is not installed.

    ScenarioError: it is not the file that its transport names.
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
        for path in sorted(ROOT.glob(pattern)):
            digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _hash(content: object) -> str:
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
