"""Writes and reads the record of a run: one folder a run, one folder a cell; draws nothing.

    RUN/run.json              what was run, by which versions of what
    RUN/scenario.toml         the scenario as run
    RUN/cells/CELL/cell.json  what came of a cell, schema-versioned
    RUN/cells/CELL/frames.csv each frame of the call: direction, index, sent, received (ns)
    RUN/cells/CELL/events.log what the censor found and did: seconds since dialling, flow, what
    RUN/cells/CELL/heard-*.wav what a real engine played to the callee (up) and the caller (down)
    RUN/cells/CELL/*.log      what the foreign programs wrote
    RUN/cells/CELL/*.pcap     what crossed each middlebox, by its name, if that was asked for
    RUN/cells/CELL/scores.json  what `testbed score` made of its sound, if it was asked to
    RUN/cells/CELL/wall.json  what it cost; the only file that differs between two equal runs
    RUN/failed/CELL/          what is left of a cell that could not be conducted

A cell's folder appears whole, by renaming, or not at all.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from testbed.call.quality.verdict import Verdict
from testbed.experiment.cell import EVENTS_FILE, FRAMES_FILE
from testbed.record.cell_record import DirectionRecord, read_frames

SCHEMA = 6
"""2 has steps, symptoms, ratings and FEC; in 3 the ends take turns, where both said the same all
the time before; in 4 `frames.csv` may say how each frame was encoded; in 5 models say symbols, too,
where they said speech; in 6 what a real engine itself played decides, and `by_playout` has our
playout's figures. What reads results must do without them for the ones before."""
READABLE = (1, 2, 3, 4, 5, 6)
CELL, WALL, MANIFEST, SCORES = "cell.json", "wall.json", "run.json", "scores.json"


class ResultsError(Exception):
    """A run's folder is missing, of another run, or not ours; the message says what to do."""


@dataclass(frozen=True)
class Wall:
    """What a cell cost."""

    wall_s: float
    """From the start of its guest to its end."""
    virtual_s: float
    """Seconds that passed in the cell."""
    cpu_s: float | None = None
    """What a processor worked for its guest; None: it was on the host's kernel, or not counted."""
    counts: Mapping[str, int] | None = None
    """What that went for, as `testbed.guest.kernel.job.Counts` has it; None: as above."""

    @property
    def ratio(self) -> float:
        """Virtual seconds per wall second."""
        return self.virtual_s / self.wall_s


@dataclass(frozen=True)
class CellResult:
    """What came of one cell, as its files have it."""

    folder: Path
    content: Mapping[str, Any]
    """`cell.json`."""
    wall: Wall

    @property
    def key(self) -> tuple[str, str, str]:
        """Messenger's title, transport and censor: what calls are compared by.

        Where a run compares links, the censor's name ends with ` over LINKS`; where it compares
        topologies, with the topology's.
        """
        c = self.content
        over = f" over {c['links']}" if c.get("links") else ""
        topology = f" {c['topology']}" if c.get("topology") else ""
        return c["messenger"]["title"], c["transport"], c["censor"] + over + topology

    @property
    def verdict(self) -> Verdict:
        """The call's verdict."""
        return next(v for v in Verdict if v.label == self.content["quality"]["verdict"])

    @property
    def symptoms(self) -> Sequence[str]:
        """What a person would say of the call; a record of schema 1 has none."""
        found: Sequence[str] = self.content["quality"].get("symptoms", ())
        return found

    @property
    def response_s(self) -> float | None:
        """How long the end that waits longer waits for an answer, in the median (s).

        None: there was none, or the record is of schema 1 or 2.
        """
        waits = self.content.get("conversation", {}).get("response_s", {}).values()
        return max((wait for wait in waits if wait is not None), default=None)

    @property
    def worse_direction(self) -> Mapping[str, Any] | None:
        """The quality of the direction that counts; None: there was no call."""
        quality = self.content["quality"]
        directions = [quality[name] for name in ("up", "down") if quality[name] is not None]
        return min(directions, key=lambda d: d["r_fullband_100"], default=None)


def clock_of(manifest: Mapping[str, Any]) -> str:
    """Say for people by which clock a run's cells went, and so whether they repeat."""
    kind = (manifest.get("kernel") or {}).get("kind", "")
    return _CLOCKS.get(kind, "kernel not recorded")


_CLOCKS = {"virtual": "virtual time", "host": "real time on the host's kernel (not repeatable)"}
"""By the kind of kernel."""


class Run:
    """The folder of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder, and keep other runs out of it meanwhile.

        ResultsError: it cannot be written, or another run is writing there.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            held = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise ResultsError(
                f"{self.folder} cannot be a run's folder ({error.strerror}): give another --out"
            ) from None
        try:
            if not os.access(self.folder, os.W_OK):
                raise ResultsError(f"{self.folder} cannot be written: give another --out")
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ResultsError(
                    f"another run is writing to {self.folder}: let it end, or give another --out"
                ) from None
            yield
        finally:
            os.close(held)

    def begin(self, manifest: Mapping[str, Any], scenario: str, *, fresh: bool) -> None:
        """Make the folder, or take up the run that is there.

        A run may grow by other cells of the same scenario. ResultsError: what is there was made of
        something else, and `fresh` does not ask to replace it.
        """
        path = self.folder / MANIFEST
        if fresh and path.exists():
            for name in ("cells", "failed"):
                shutil.rmtree(self.folder / name, ignore_errors=True)
        elif path.exists():
            manifest = self._grown(manifest)
        elif self.folder.is_dir() and any(self.folder.iterdir()):
            raise ResultsError(f"{self.folder} is not empty and no run's: give another --out")
        for name in ("cells", "failed"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        _write(self.folder / "scenario.toml", scenario)
        _write(path, json.dumps(manifest, indent=1) + "\n")

    def _grown(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Give this folder's manifest with the cells and inputs of another one added."""
        before = self.manifest()
        changed = [k for k in ("kernel", "scenario") if before[k] != manifest[k]]
        for part in ("versions", "inputs"):
            common = set(before[part]) & set(manifest[part])
            changed += sorted(k for k in common if before[part][k] != manifest[part][k])
        if changed:
            raise ResultsError(
                f"{self.folder} holds a run made of another {', '.join(changed)}: "
                "give --fresh to replace it, or --out for another folder"
            )
        return {
            **manifest,
            **{
                part: {**before[part], **manifest[part]}
                for part in ("versions", "inputs", "definitions")
            },
            "cells": list(dict.fromkeys((*before["cells"], *manifest["cells"]))),
        }

    def manifest(self) -> dict[str, Any]:
        """Read what was run. ResultsError: there is no run here, or one of a later schema."""
        path = self.folder / MANIFEST
        try:
            content: dict[str, Any] = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise ResultsError(f"{self.folder} is no run's folder: {error}") from None
        if content.get("schema") not in READABLE:
            found, known = content.get("schema"), " and ".join(map(str, READABLE))
            raise ResultsError(f"{path}: schema {found}, and this version reads {known}")
        return content

    def has(self, cell_id: str) -> bool:
        """Whether a cell's record is there."""
        return (self.folder / "cells" / cell_id / CELL).is_file()

    def keep(self, cell_id: str, job: Path, content: Mapping[str, Any], wall: Wall) -> CellResult:
        """Move a conducted cell's files from its job's folder into the record, atomically."""
        done = job.with_name(job.name + ".done")
        done.mkdir()
        logs = [path for kind in ("log", "pcap") for path in sorted(job.glob(f"nodes/*/*.{kind}"))]
        for path in (job / FRAMES_FILE, job / EVENTS_FILE, *sorted(job.glob("heard-*.wav")), *logs):
            node = "" if path.parent == job else path.parent.name + "-"
            path.rename(done / (node + path.name))
        (done / WALL).write_text(json.dumps(asdict(wall), indent=1) + "\n")
        (done / CELL).write_text(json.dumps(content, indent=1) + "\n")
        _flush(done)
        target = self.folder / "cells" / cell_id
        done.rename(target)
        shutil.rmtree(job)
        shutil.rmtree(self.folder / "failed" / cell_id, ignore_errors=True)
        return CellResult(target, content, wall)

    def keep_failed(self, cell_id: str, job: Path, reason: str) -> None:
        """Keep what is left of a cell that could not be conducted."""
        (job / "reason.txt").write_text(reason + "\n")
        target = self.folder / "failed" / cell_id
        shutil.rmtree(target, ignore_errors=True)
        job.rename(target)

    def results(self) -> list[CellResult]:
        """Read all cells that are there, in the scenario's order."""
        order = {cell: place for place, cell in enumerate(self.manifest().get("cells", ()))}
        return sorted(self._read(), key=lambda r: order.get(r.folder.name, len(order)))

    def failures(self) -> dict[str, str]:
        """Give the reason of each cell that failed when it was last run."""
        return {
            path.parent.name: path.read_text().strip()
            for path in sorted(self.folder.glob("failed/*/reason.txt"))
        }

    def _read(self) -> Iterator[CellResult]:
        for folder in sorted((self.folder / "cells").iterdir()):
            try:
                content = json.loads((folder / CELL).read_text())
                wall = Wall(**json.loads((folder / WALL).read_text()))
            except (OSError, ValueError, TypeError) as error:
                raise ResultsError(f"{folder}: {error}; remove it and run again") from None
            yield CellResult(folder, content, wall)


def frames_of(result: CellResult) -> dict[str, DirectionRecord]:
    """Read a cell's frames, by direction."""
    return read_frames(result.folder / FRAMES_FILE)


def _flush(folder: Path) -> None:
    """Bring a folder's files to the disk, so that after a power loss they are there whole."""
    for path in (*folder.iterdir(), folder):
        opened = os.open(path, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    os.replace(temporary, path)  # noqa: PTH105 - the atomic one
