"""Golden hashes: check that observations are the same as those recorded before.

A golden hash covers everything that was observed in a cell, or in a transport's conformance suite,
in a laboratory of a known kernel and lab image (`Golden.versions`). In the same laboratory, a
different hash means that the project's own code has changed its results. In another one, the
comparison says nothing about the code.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path

from testbed.call.engines import ENGINES
from testbed.experiment.cell import FRAMES_FILE, RECORD_FILE, THROUGH, Cell, TransportChoice
from testbed.experiment.choosing import transport_choice, transport_choices
from testbed.experiment.scenario import ROOT, load_messenger, load_scenario, messenger_names
from testbed.experiment.unfolding import cells
from testbed.guest.kernel.builder import Kernel
from testbed.guest.programs import is_in_image, version
from testbed.record.cell_record import read_observation
from testbed.record.left_files import read_left
from testbed.record.observation import DirectionRecord, Observation, read_frames
from testbed.run.jobs import prepare_job
from testbed.run.provenance import HOSTS_PACKAGES, laboratory_of
from testbed.run.runner import in_guest
from testbed.transport.interface import Program

GOLDEN_FILE = ROOT / "tests" / "golden.toml"
DURATION_S = 10.0
"""The duration of the calls in golden cells."""
_SCENARIO = "speed"
"""The scenario that provides the links of golden cells, with jitter."""
_TRANSPORTS = ("ru-transports-2025-08", "ru-tunnels-2025-08")
"""The scenarios that name all transports, including variants by parameters."""
EVASION_BY_FAKES = "desync {fake = random, fake_bytes = 120, protocol = udp}"
"""The transport without a bridge whose suite has a golden hash: fakes, also from its own draws."""
_CENSORS: Mapping[str, str] = {"model": "ru-calls-2025-08"}
"""By engine: the censor of its golden cell, if not `_LOSS`, under which every call is set up."""
_LOSS = "loss-10"

Series = Sequence[int | None]


@dataclass(frozen=True)
class Observed:
    """Observations; times in nanoseconds since dialling, None for what never happened."""

    sent_ns: Sequence[Series] = ()
    """By direction (up, down): when each frame was sent, by its index."""
    received: Sequence[Sequence[tuple[int, int]]] = ()
    """By direction (up, down): index and time of each frame, in the order of arrival."""
    set_up_ns: Series = ()
    """How long the transport took to connect, and when the call was set up and ended."""
    chat_ns: Sequence[Series] = ()
    """How long connecting took; when each message was sent; when each was acknowledged."""
    events: Sequence[tuple[int, str, str]] = ()
    """The middleboxes' events: time, flow, what was found or done."""
    arrivals_ns: Series = ()
    """In a conformance suite: when each datagram arrived, since the suite began."""


def golden_hash(observed: Observed) -> str:
    """Return the SHA-256 (hexadecimal) of the canonical form of an observation.

    The canonical form is the JSON array of the fields of `Observed`, in their order, in ASCII and
    without blanks. It contains no names of fields, files or schemas, and no verdicts.
    """
    parts = (
        observed.sent_ns,
        observed.received,
        observed.set_up_ns,
        observed.chat_ns,
        observed.events,
        observed.arrivals_ns,
    )
    text = json.dumps(parts, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def observed_in_cell(seen: Observation, frames: Mapping[str, DirectionRecord]) -> Observed:
    """Return the observation of a cell in the form that is hashed."""
    call, chat = seen.call, seen.chat
    directions = [frames[name] for name in ("up", "down")]
    return Observed(
        sent_ns=[_ns(each.sent_s) for each in directions],
        received=[[(index, round(at * 1e9)) for index, at in d.received] for d in directions],
        set_up_ns=_ns((seen.transport.connect_s, call.set_up_s, call.ended_s)),
        chat_ns=[_ns((chat.connected_s,)), _ns(chat.sent_s), _ns(chat.acknowledged_s)],
        events=[(round(at * 1e9), flow, what) for at, flow, what in seen.events],
    )


def _ns(times_s: Sequence[float | None]) -> list[int | None]:
    return [None if at is None else round(at * 1e9) for at in times_s]


def golden_cells() -> dict[str, Cell]:
    """Return a short cell for each engine, by the engine's name."""
    messengers: dict[str, str] = {
        load_messenger(name).engine: name for name in reversed(messenger_names())
    }
    found = {}
    for engine in ENGINES:
        scenario = replace(
            load_scenario(_SCENARIO),
            messengers=(messengers[engine] if engine != "model" else "whatsapp",),
            transports=("direct",),
            censors=(_CENSORS.get(engine, _LOSS),),
            duration_s=DURATION_S,
            seeds=(1,),
        )
        [found[engine]] = cells(scenario)
    return found


def golden_transports() -> dict[str, TransportChoice]:
    """Return the transports whose conformance suite has a golden hash, by name.

    A transport that wraps another is tested around `direct`, which isolates its own behaviour.
    """
    choices = (*named_transports(), transport_choice(EVASION_BY_FAKES))
    return {str(choice): choice for choice in map(_around_direct, choices)}


def named_transports() -> Sequence[TransportChoice]:
    """Return the transports of all scenarios that compare transports, each once."""
    entries = [entry for name in _TRANSPORTS for entry in load_scenario(name).transports]
    return list({str(each): each for each in transport_choices(tuple(entries))}.values())


def _around_direct(choice: TransportChoice) -> TransportChoice:
    direct = TransportChoice("direct")
    wrapped = {
        key: direct
        for key, value in choice.parameters.items()
        if key != THROUGH and isinstance(value, TransportChoice)
    }
    return replace(choice, parameters={**choice.parameters, **wrapped})


async def observe_cell(kernel: Kernel, cell: Cell, folder: Path, cpu: int) -> Observed:
    """Conduct a cell in a guest, in a folder that does not exist yet; return its observation.

    Raises:
        ConductError: The cell could not be conducted.
    """
    prepare_job(folder, cell)
    await in_guest(kernel)(folder, cell, cpu)
    seen = read_observation(read_left(folder, RECORD_FILE))
    return observed_in_cell(seen, read_frames(folder / FRAMES_FILE))


def laboratory(needed: Sequence[Program], kernel: Kernel) -> dict[str, str]:
    """Return the versions, by name, of everything involved except the project's own code.

    These are the laboratory's hash, the host's libraries that plan networks and encode speech, and
    the programs that are not from the lab image.
    """
    own = {p.name: version(p) for p in needed if not is_in_image(p)}
    hosts = {name: metadata.version(name) for name in HOSTS_PACKAGES}
    return {"laboratory": laboratory_of(kernel).laboratory, **hosts, **own}


@dataclass(frozen=True)
class Golden:
    """The golden hashes, and the versions with which they were recorded."""

    versions: Mapping[str, str] = field(default_factory=dict)
    hashes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By kind (`cell` or `transport`) and name."""

    def other_laboratory(self, here: Mapping[str, str]) -> str:
        """Return which versions differ from those of the golden hashes; empty if none does."""
        differing = [
            f"{name} {version}, expected {self.versions.get(name, 'none')}"
            for name, version in here.items()
            if self.versions.get(name) != version
        ]
        return "; ".join(differing)

    def conflict(self, here: Mapping[str, str]) -> str:
        """Return which versions are other ones than those of the hashes; new ones are none."""
        return self.other_laboratory({k: here[k] for k in here if k in self.versions})

    def joined(self, other: Golden) -> Golden:
        """Return these hashes and others of the same laboratory, which replace those of a name."""
        kinds = {**self.hashes, **other.hashes}
        hashes = {k: {**self.hashes.get(k, {}), **other.hashes.get(k, {})} for k in kinds}
        return Golden({**self.versions, **other.versions}, hashes)

    def complaint(self, kind: str, name: str, observed: Observed) -> str:
        """Return how an observation in the golden laboratory is wrong; empty if it is not."""
        wanted, found = self.hashes.get(kind, {}).get(name), golden_hash(observed)
        if wanted is None:
            return f"{kind} {name} has no golden hash: run `testbed check golden --update`"
        if wanted == found:
            return ""
        return (
            f"{kind} {name}: what was observed has changed, with the same versions of all "
            f"programs: hash {found[:12]}, expected {wanted[:12]}. If a change of the code is "
            "meant to change results, run `testbed check golden --update`"
        )


def read_golden(path: Path = GOLDEN_FILE) -> Golden:
    """Return the golden hashes; none if there is no such file."""
    content = tomllib.loads(path.read_text()) if path.exists() else {}
    return Golden(content.pop("versions", {}), content)


def write_golden(golden: Golden, path: Path = GOLDEN_FILE) -> None:
    """Write the golden hashes."""
    lines = ["# Written by `testbed check golden --update`: see testbed/tools/golden_hashes.py."]
    for title, table in {"versions": golden.versions, **golden.hashes}.items():
        lines += ["", f"[{title}]"]
        lines += [f"{json.dumps(name)} = {json.dumps(table[name])}" for name in sorted(table)]
    path.write_text("\n".join(lines) + "\n")
