"""Writes and reads the folder of a run, which has one subfolder for each cell.

    RUN/run.json              what was run, and with which versions (a `Manifest`)
    RUN/scenario.toml         the scenario as it was run
    RUN/cells/CELL/cell.json  the judged result of a cell (a `CellRecord`)
    RUN/cells/CELL/frames.csv each frame of the call: direction, index, sent, received (ns)
    RUN/cells/CELL/events.log what the censor found and did: seconds since dialling, flow, event
    RUN/cells/CELL/heard-*.wav what a real engine played to the callee (up) and the caller (down)
    RUN/cells/CELL/*.log      the logs of third-party programs
    RUN/cells/CELL/*-webrtc-internals.json  the statistics of an end's WebRTC, one report a second
    RUN/cells/CELL/*.pcap     what crossed each middlebox or each end, if a capture was requested
    RUN/cells/CELL/scores.json  the scores of its sound, if `testbed score` was run
    RUN/cells/CELL/wall.json  what it cost; the only file that differs between two equal runs
    RUN/cells/CELL/SHA256SUMS the checksums of the files above but its scores and its cost
    RUN/failed/CELL/          what is left of a cell that could not be conducted

A cell's folder is prepared elsewhere and renamed into place, so it is either complete or absent.
One that is damaged all the same counts as not run. Files that do not belong to a run are ignored.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from testbed.errors import InputError
from testbed.experiment.cell import EVENTS_FILE, FRAMES_FILE, STATISTICS_FILE, CaptureAt
from testbed.record.cell_record import CellRecord, parsed
from testbed.record.checksums import check_sum, damage, is_sealed, seal, sums, with_sum
from testbed.record.left_files import plain_name, read_left, read_tail, write_left
from testbed.record.manifest import Manifest
from testbed.record.observation import DirectionRecord, read_frames

CELL, WALL, MANIFEST, SCORES = "cell.json", "wall.json", "run.json", "scores.json"
_CHECKED = (FRAMES_FILE, EVENTS_FILE)
_HEARD = "heard-"
"""How the names of files begin that have what a real engine played."""
_REASON_BYTES = 64 << 10
"""At most so much is read of why a cell failed."""


class ResultsError(InputError):
    """A run's folder is missing, belongs to another run, or was not written by the testbed.

    The message says what to do.
    """


@dataclass(frozen=True)
class Wall:
    """What a cell cost in time and resources."""

    wall_s: float
    """From the start of the cell's guest to its end."""
    virtual_s: float
    """Seconds that passed in the cell."""
    cpu_s: float | None = None
    """Processor time of the guest; None if the cell ran on the host's kernel or it was not counted.
    """
    counts: Mapping[str, int] | None = None
    """The guest's counters (`testbed.guest.kernel.job.Counts`); None in the same cases."""

    @property
    def ratio(self) -> float:
        """Virtual seconds per wall second."""
        return self.virtual_s / self.wall_s


_WALLS = TypeAdapter(Wall)


_OF_NODES = ("*.log", "*.pcap", STATISTICS_FILE)
"""What is kept of a node's folder."""


@dataclass(frozen=True)
class RecordedCell:
    """One cell of a run."""

    folder: Path
    """Where its files are; use `Run` to read them."""
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
        """The manifest as last read or written; it is large, and every cell needs it."""

    @contextmanager
    def held(self) -> Iterator[None]:
        """Create the folder if need be, and lock it against other runs.

        Raises:
            ResultsError: The folder cannot be written, or another run is writing to it.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            held = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise ResultsError(
                f"{self.folder} cannot be a run's folder ({error.strerror}): choose another --out"
            ) from None
        try:
            if not os.access(self.folder, os.W_OK):
                raise ResultsError(f"{self.folder} is not writable: choose another --out")
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ResultsError(
                    f"another run is writing to {self.folder}: wait until it ends, or choose "
                    "another --out"
                ) from None
            yield
        finally:
            os.close(held)

    def begin(self, manifest: Manifest, scenario: str, *, fresh: bool) -> None:
        """Create the run, or resume the one that is there.

        A run may be extended by other cells of the same scenario.

        Raises:
            ResultsError: The run that is there has other inputs or versions, and `fresh` is not
                set, which would replace it.
        """
        path = self.folder / MANIFEST
        if fresh and path.exists():
            for name in ("cells", "failed"):
                shutil.rmtree(self.folder / name, ignore_errors=True)
        elif path.exists():
            manifest = self._grown(manifest)
        elif self.folder.is_dir() and any(p.name[0] != "." for p in self.folder.iterdir()):
            raise ResultsError(
                f"{self.folder} is not empty and not a run's folder: choose another --out"
            )
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
                f"{self.folder} holds a run with another {', '.join(changed)}: "
                "use --fresh to replace it, or --out for another folder"
            )
        return before.merged(manifest)

    def manifest(self) -> Manifest:
        """Return the run's manifest.

        Raises:
            ResultsError: There is no run here, or it is damaged.
        """
        if self._manifest is not None:
            return self._manifest
        path = self.folder / MANIFEST
        try:
            self._manifest = Manifest.from_json(read_left(self.folder, MANIFEST))
        except OSError as error:
            raise ResultsError(
                f"{self.folder} is not a run's folder ({path.name}: {error.strerror}); expected "
                "one that `testbed run` made, such as results/SCENARIO"
            ) from None
        except ValueError as error:
            raise ResultsError(f"{path} was not written by a run, or is damaged: {error}") from None
        return self._manifest

    def has(self, cell_id: str) -> bool:
        """Return whether a cell's record is there, whole."""
        return (self.folder / "cells" / cell_id).is_dir() and not self.damage(cell_id)

    def damage(self, cell_id: str) -> str:
        """Return what is wrong with a cell's files; empty if nothing is, or if it is not there."""
        cell = self.folder / "cells" / cell_id
        if not cell.is_dir():
            return ""
        try:
            read_cell(cell)
            sealed = sums(cell) if is_sealed(cell) else {}
        except (OSError, ValueError) as error:
            return str(error)
        sound = [name for name in sealed if name.startswith(_HEARD)]
        return damage(cell, *_CHECKED, *sound) if is_sealed(cell) else ""

    def keep(self, cell_id: str, job: Path, record: CellRecord, wall: Wall) -> RecordedCell:
        """Move a conducted cell's files from its job's folder into the run, atomically."""
        done = job.with_name(job.name + ".done")
        done.mkdir()
        logs = [path for kind in _OF_NODES for path in sorted(job.glob(f"nodes/*/{kind}"))]
        for path in (
            job / FRAMES_FILE,
            job / EVENTS_FILE,
            *sorted(job.glob(f"{_HEARD}*.wav")),
            *logs,
        ):
            if path.is_file():
                node = "" if path.parent == job else path.parent.name + "-"
                path.rename(done / plain_name(node + path.name))
        (done / WALL).write_text(with_sum(asdict(wall)))
        (done / CELL).write_text(record.to_json())
        seal(done, WALL)
        _flush(done)
        target = self.folder / "cells" / cell_id
        shutil.rmtree(target, ignore_errors=True)  # only if it was damaged
        done.rename(target)
        shutil.rmtree(job)
        shutil.rmtree(self.folder / "failed" / cell_id, ignore_errors=True)
        return RecordedCell(target, record, wall)

    def keep_failed(self, cell_id: str, job: Path, reason: str) -> None:
        """Keep what is left of a cell that could not be conducted."""
        write_left(job, "reason.txt", f"{reason}\n".encode())
        target = self.folder / "failed" / cell_id
        shutil.rmtree(target, ignore_errors=True)
        job.rename(target)

    def cells(self) -> list[RecordedCell]:
        """Return all cells that are there, in the scenario's order.

        Raises:
            ResultsError: There is no run here, or a cell's files are damaged.
        """
        order = {cell: place for place, cell in enumerate(self.manifest().cells)}
        return sorted(self._read(), key=lambda cell: order.get(cell.id, len(order)))

    def frames(self, cell: RecordedCell) -> dict[str, DirectionRecord]:
        """Return a cell's frames, by direction.

        Raises:
            ResultsError: The frames are damaged or missing.
        """
        path = cell.folder / FRAMES_FILE
        if is_sealed(cell.folder) and (found := damage(cell.folder, FRAMES_FILE)):
            raise ResultsError(_damaged(cell.folder, found))
        try:
            return read_frames(path)
        except (OSError, ValueError) as error:
            raise ResultsError(_damaged(cell.folder, error)) from None

    def heard(self, cell: RecordedCell, direction: str) -> Path | None:
        """Return the WAV file of what a real engine played; None for a modelled call.

        Raises:
            ResultsError: It is damaged.
        """
        path = cell.folder / f"{_HEARD}{direction}.wav"
        if not os.path.lexists(path):
            return None
        if is_sealed(cell.folder) and (found := damage(cell.folder, path.name)):
            raise ResultsError(_damaged(cell.folder, found))
        return path

    def captures(self, cell_id: str, where: CaptureAt) -> list[Path]:
        """Return the capture files of a cell: one for each side of a middlebox, or for each end."""
        names = "*-end.pcap" if where == "ends" else "middlebox*.pcap"
        return sorted((self.folder / "cells" / cell_id).glob(names))

    def scores(self, cell: RecordedCell) -> bytes | None:
        """Return the scores that `testbed score` wrote for a cell; None if there are none."""
        try:
            return read_left(cell.folder, SCORES)
        except (OSError, ValueError):
            return None

    def keep_scores(self, cell: RecordedCell, text: str) -> None:
        """Write the scores that `testbed score` computed from a cell's sound."""
        (cell.folder / SCORES).write_text(text)

    def digest(self) -> str:
        """Return the SHA-256 (hexadecimal) of all cells' ids and records, in order."""
        digest = hashlib.sha256()
        for path in sorted((self.folder / "cells").glob(f"*/{CELL}")):
            digest.update(path.parent.name.encode() + b"\0" + path.read_bytes())
        return digest.hexdigest()

    def failures(self) -> dict[str, str]:
        """Return, by cell id, why each cell failed that failed when it was last run."""
        return {
            path.parent.name: read_tail(path.parent, path.name, _REASON_BYTES).strip()
            for path in sorted(self.folder.glob("failed/*/reason.txt"))
        }

    def _read(self) -> Iterator[RecordedCell]:
        folder = self.folder / "cells"
        for cell in sorted(folder.iterdir()) if folder.is_dir() else ():
            if not (is_sealed(cell) or (cell / CELL).exists()):
                continue
            try:
                record, wall = read_cell(cell)
            except (OSError, ValueError) as error:
                raise ResultsError(_damaged(cell, error)) from None
            yield RecordedCell(cell, record, wall)


def read_cell(cell: Path) -> tuple[CellRecord, Wall]:
    """Read a cell's record and what it cost.

    Raises:
        OSError: A file is missing.
        ValueError: A file is damaged.
    """
    record = CellRecord.from_json(read_left(cell, CELL))
    if is_sealed(cell) and (found := damage(cell, CELL)):
        raise ValueError(found)
    text = read_left(cell, WALL)
    wall = parsed(_WALLS, text)
    check_sum(text, Wall)
    return record, wall


def _damaged(cell: Path, error: object) -> str:
    said = " ".join(str(error).split())
    return f"{cell} is damaged: {said}; run its scenario again, which replaces it"


def _flush(folder: Path) -> None:
    """Flush a folder's files to the disk, so that they are complete after a power loss."""
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
