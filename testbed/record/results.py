"""Writes and reads the record of a run: one folder a run, one folder a cell; draws nothing.

    RUN/run.json              what was run, by which versions of what (a `Manifest`)
    RUN/scenario.toml         the scenario as run
    RUN/cells/CELL/cell.json  what came of a cell (a `CellRecord`)
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
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from testbed.errors import InputError
from testbed.experiment.cell import EVENTS_FILE, FRAMES_FILE
from testbed.record.cell_record import CellRecord, parsed
from testbed.record.manifest import Manifest
from testbed.record.observation import DirectionRecord, read_frames

CELL, WALL, MANIFEST, SCORES = "cell.json", "wall.json", "run.json", "scores.json"


class ResultsError(InputError):
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


_WALLS = TypeAdapter(Wall)


@dataclass(frozen=True)
class RecordedCell:
    """One cell of a run."""

    folder: Path
    """Where its files are; `Run` reads them."""
    record: CellRecord
    wall: Wall

    @property
    def id(self) -> str:
        """The cell's name within its run."""
        return self.folder.name


class Run:
    """The folder of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._manifest: Manifest | None = None
        """As it was last read or written; it is large, and asked for with each cell."""

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder, and keep other runs out of it meanwhile.

        Raises:
            ResultsError: It cannot be written, or another run is writing there.
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

    def begin(self, manifest: Manifest, scenario: str, *, fresh: bool) -> None:
        """Make the folder, or take up the run that is there.

        A run may grow by other cells of the same scenario.

        Raises:
            ResultsError: What is there was made of something else, and `fresh` does not ask to
                replace it.
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
        _write(path, manifest.to_json())
        self._manifest = manifest

    def _grown(self, manifest: Manifest) -> Manifest:
        """Return this folder's manifest with the cells and inputs of another one added."""
        before = self.manifest()
        if changed := before.changed(manifest):
            raise ResultsError(
                f"{self.folder} holds a run made of another {', '.join(changed)}: "
                "give --fresh to replace it, or --out for another folder"
            )
        return before.merged(manifest)

    def manifest(self) -> Manifest:
        """Read what was run.

        Raises:
            ResultsError: There is no run here, or it is damaged.
        """
        if self._manifest is not None:
            return self._manifest
        path = self.folder / MANIFEST
        try:
            self._manifest = Manifest.from_json(path.read_bytes())
        except OSError as error:
            raise ResultsError(f"{self.folder} is no run's folder: {error}") from None
        except ValueError as error:
            raise ResultsError(f"{path} is no run's, or damaged: {error}") from None
        return self._manifest

    def has(self, cell_id: str) -> bool:
        """Whether a cell's record is there."""
        return (self.folder / "cells" / cell_id / CELL).is_file()

    def keep(self, cell_id: str, job: Path, record: CellRecord, wall: Wall) -> RecordedCell:
        """Move a conducted cell's files from its job's folder into the record, atomically."""
        done = job.with_name(job.name + ".done")
        done.mkdir()
        logs = [path for kind in ("log", "pcap") for path in sorted(job.glob(f"nodes/*/*.{kind}"))]
        for path in (job / FRAMES_FILE, job / EVENTS_FILE, *sorted(job.glob("heard-*.wav")), *logs):
            node = "" if path.parent == job else path.parent.name + "-"
            path.rename(done / (node + path.name))
        (done / WALL).write_text(json.dumps(asdict(wall), indent=1) + "\n")
        (done / CELL).write_text(record.to_json())
        _flush(done)
        target = self.folder / "cells" / cell_id
        done.rename(target)
        shutil.rmtree(job)
        shutil.rmtree(self.folder / "failed" / cell_id, ignore_errors=True)
        return RecordedCell(target, record, wall)

    def keep_failed(self, cell_id: str, job: Path, reason: str) -> None:
        """Keep what is left of a cell that could not be conducted."""
        (job / "reason.txt").write_text(reason + "\n")
        target = self.folder / "failed" / cell_id
        shutil.rmtree(target, ignore_errors=True)
        job.rename(target)

    def cells(self) -> list[RecordedCell]:
        """Read all cells that are there, in the scenario's order.

        Raises:
            ResultsError: There is no run here, or a cell's files are damaged.
        """
        order = {cell: place for place, cell in enumerate(self.manifest().cells)}
        return sorted(self._read(), key=lambda cell: order.get(cell.id, len(order)))

    def frames(self, cell: RecordedCell) -> dict[str, DirectionRecord]:
        """Read a cell's frames, by direction.

        Raises:
            ResultsError: They are damaged or missing.
        """
        path = cell.folder / FRAMES_FILE
        try:
            return read_frames(path)
        except (OSError, ValueError) as error:
            raise ResultsError(f"{path}: {error}; remove its folder and run again") from None

    def heard(self, cell: RecordedCell, direction: str) -> Path | None:
        """Return the WAV file of what a real engine played; None: a model's call has none."""
        path = cell.folder / f"heard-{direction}.wav"
        return path if path.exists() else None

    def captures(self, cell_id: str) -> list[Path]:
        """Return the captures that were taken of a cell, one for each side of a middlebox."""
        return sorted((self.folder / "cells" / cell_id).glob("*.pcap"))

    def scores(self, cell: RecordedCell) -> bytes | None:
        """Read what `testbed score` kept of a cell; None: it was not scored."""
        path = cell.folder / SCORES
        return path.read_bytes() if path.exists() else None

    def keep_scores(self, cell: RecordedCell, text: str) -> None:
        """Keep what `testbed score` made of a cell's sound."""
        (cell.folder / SCORES).write_text(text)

    def digest(self) -> str:
        """Return the SHA-256 of all cells' ids and records, in order."""
        digest = hashlib.sha256()
        for path in sorted((self.folder / "cells").glob(f"*/{CELL}")):
            digest.update(path.parent.name.encode() + b"\0" + path.read_bytes())
        return digest.hexdigest()

    def failures(self) -> dict[str, str]:
        """Return the reason of each cell that failed when it was last run."""
        return {
            path.parent.name: path.read_text().strip()
            for path in sorted(self.folder.glob("failed/*/reason.txt"))
        }

    def _read(self) -> Iterator[RecordedCell]:
        folder = self.folder / "cells"
        for cell in sorted(folder.iterdir()) if folder.is_dir() else ():
            try:
                record = CellRecord.from_json((cell / CELL).read_bytes())
                wall = parsed(_WALLS, (cell / WALL).read_bytes())
            except (OSError, ValueError) as error:
                raise ResultsError(f"{cell}: {error}; remove it and run again") from None
            yield RecordedCell(cell, record, wall)


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
