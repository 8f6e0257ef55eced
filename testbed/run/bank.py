"""Keep what simulated calls came to, so that no cell of an inference is run twice.

A bank is a file of JSON lines in the user's cache, one for each laboratory (kernel and lab image).
A line has a hash of the cell's content, its outcome, and a hash of the code that ran it: cells are
the same in every run of one laboratory, but a change of the code may change them, so a reader is
told which lines were made by other code. A line that is damaged, as the last one is after a crash,
counts as missing.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import TypeAdapter

from testbed.call.quality.symptoms import symptom_of
from testbed.call.quality.usable import CallFigures, figures_of_call
from testbed.experiment.cell import FRAMES_FILE, Cell
from testbed.experiment.reports import DELIVERED, Outcome
from testbed.guest.user_cache import user_cache
from testbed.record.cell_record import CellRecord, parsed
from testbed.record.left_files import read_left
from testbed.record.results import Run
from testbed.run.provenance import code_of
from testbed.run.runner import Conduct, Done, run_cells

_DECIDING = ("audio", "call", "censor", "lab", "listen", "record", "transport")
"""The folders whose code decides what a cell comes to."""


@dataclass(frozen=True)
class Kept:
    """What is kept of one cell."""

    key: str
    """The hash of the cell's content."""
    code: str
    """The hash of the code that ran it."""
    outcome: Outcome
    rules: tuple[str, ...]
    """The rules of the censor that matched packets."""
    heard: str = ""
    """A hash of the call's frames and of what each rule did to packets: two calls that differ in a
    parameter only and have the same hash do not depend on it."""
    figures: CallFigures | None = None
    """What decided whether it was usable; None: it was not set up, or dropped."""


_KEPT = TypeAdapter(Kept)


def key_of(cell: Cell) -> str:
    """Return the hash of all that decides what a cell comes to, apart from laboratory and code."""
    content = asdict(cell)
    for part in ("messenger", "censor", "links"):
        for word in ("name", "title", "description", "evidence", "reviewed", "source"):
            content[part].pop(word, None)
    for rule in content["censor"]["rules"]:
        rule.pop("evidence")
    content["censor"]["inspection"].pop("evidence")
    text = json.dumps(content, sort_keys=True, default=sorted)
    return sha256(text.encode()).hexdigest()[:24]


def outcome_of(record: CellRecord) -> Outcome:
    """Return what a cell came to, as far as reports ask for it."""
    symptoms = dict.fromkeys(str(symptom_of(text)) for text in record.quality.symptoms)
    chat = record.chat
    works = chat.sent > 0 and chat.delivered >= DELIVERED * chat.sent
    return Outcome(record.verdict, tuple(symptoms), record.is_set_up, works)


class Bank:
    """The outcomes of simulated cells in one laboratory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._kept: dict[str, Kept] = {}
        if path.exists():
            for line in path.read_bytes().splitlines():
                try:
                    kept = parsed(_KEPT, line)
                except ValueError:
                    continue
                self._kept[kept.key] = kept

    @classmethod
    def of(cls, laboratory: str) -> Bank:
        """Return the bank of a laboratory in the user's cache."""
        name = sha256(laboratory.encode()).hexdigest()[:20]
        return cls(user_cache() / "bank" / f"{name}.jsonl")

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, cell: Cell) -> Kept | None:
        """Return what a cell came to; None if it is not there."""
        return self._kept.get(key_of(cell))

    def missing(self, cells: Iterable[Cell]) -> list[Cell]:
        """Return the cells that are not there, each once."""
        found = {key_of(cell): cell for cell in cells}
        return [cell for key, cell in found.items() if key not in self._kept]

    def by_other_code(self, cells: Iterable[Cell]) -> int:
        """Return how many of the cells were run by code that differs from today's."""
        code = code_hash()
        found = (self.get(cell) for cell in cells)
        return sum(kept is not None and kept.code != code for kept in found)

    def keep(self, cell: Cell, record: CellRecord, frames: bytes = b"") -> None:
        """Add a cell's record, with the file of its frames, and write it to the bank's file."""
        matched = record.observation.rules
        rules = tuple(name for name, counted in matched.items() if counted.get("matched"))
        heard, figures = _heard(matched, frames), figures_of_call(record.quality)
        kept = Kept(key_of(cell), code_hash(), outcome_of(record), rules, heard, figures)
        self._kept[kept.key] = kept
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.write(_KEPT.dump_json(kept) + b"\n")


def _heard(rules: Mapping[str, Mapping[str, int]], frames: bytes) -> str:
    # How many packets a rule only looked at depends on when the kernel took a flow over.
    did = {
        rule: {k: n for k, n in of.items() if k != "matched" and n} for rule, of in rules.items()
    }
    text = json.dumps({rule: of for rule, of in did.items() if of}, sort_keys=True)
    return sha256(frames + text.encode()).hexdigest()[:24]


@cache
def code_hash() -> str:
    """Return the hash of the code that decides what a cell comes to."""
    return code_of(*(f"testbed/{folder}/**/*.py" for folder in _DECIDING), "transports/*.py")


async def fill(
    bank: Bank,
    cells: Sequence[Cell],
    conduct: Conduct,
    cpus: Sequence[int],
    report: Callable[[Done], None],
) -> Mapping[str, str]:
    """Run the cells that a bank has not, and return why some failed, by the cell's name.

    Each is kept as it ends, so an interrupted run goes on where it was. `report` is called with
    each cell as it ends.

    Raises:
        Interrupted: The user pressed ^C.
        LabError: The disk is full.
    """
    wanted = {(made := named(cell)).censor.name: (made, cell) for cell in bank.missing(cells)}
    failures: dict[str, str] = {}
    with TemporaryDirectory(prefix="testbed-bank-") as temporary:
        run = Run(Path(temporary))
        (run.folder / "cells").mkdir()
        (run.folder / "failed").mkdir()

        def ended(done: Done) -> None:
            if done.result is None:
                failures[done.cell_id] = done.failure
            else:
                _, cell = wanted[done.result.record.censor]
                bank.keep(cell, done.result.record, read_left(done.result.folder, FRAMES_FILE))
                shutil.rmtree(done.result.folder)
            report(done)

        plan = [made for made, _ in wanted.values()]
        await run_cells(run, plan, conduct, cpus, ended)
    return failures


def named(cell: Cell) -> Cell:
    """Return a cell whose censor is named by what the cell is, so that its own name is unique."""
    return replace(cell, censor=replace(cell.censor, name=key_of(cell)))
