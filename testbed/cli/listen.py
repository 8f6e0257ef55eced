"""The command `listen`: let the user hear what was said and what was heard."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from testbed.analysis.groups import grouped
from testbed.audio.opus import Speech
from testbed.call.quality.verdict import DirectionQuality
from testbed.cli.console import err, out
from testbed.cli.outputs import check_folder
from testbed.cli.registry import Command, Panel
from testbed.listen.call_sound import HEARD_BY, SAID_BY, samples, sound_of, write_opus, write_wav
from testbed.record.results import RecordedCell, ResultsError, Run

PLAYERS = (
    ("pw-play",),
    ("paplay",),
    ("aplay", "-q"),
    ("ffplay", "-nodisp", "-autoexit", "-loglevel", "error"),
    ("mpv", "--no-video", "--really-quiet"),
    ("play", "-q"),
)
"""Programs that play a WAV file; the first that is installed is used."""


@dataclass(frozen=True)
class _Heard:
    """One file to listen to, and its columns in the table."""

    file: str
    sound: Speech | None
    """None if nothing was heard."""
    verdict: str = ""
    like: str = ""
    concealed: str = ""


def listen(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")],
    cell: Annotated[
        str | None,
        typer.Argument(
            metavar="CELL", help="One cell, by its name or by a part that no other name has."
        ),
    ] = None,
    export: Annotated[
        Path | None, typer.Option(help="Write the files to this folder without playing them.")
    ] = None,
    seconds: Annotated[
        float,
        typer.Option(min=0.1, max=3600, help="How much of each is played; files have all of it."),
    ] = 10.0,
) -> None:
    """Play what was said in calls, and what was heard of it: directly and through each transport.

    The sound is made again from the record, as WAV and Opus files that begin at the same time, in
    RUN/listen. They are played if a player is installed. Without CELL, the files are the worse
    direction of the first seed of each kind of call.

    Example: testbed listen results/ru-calls-2025-08 --export /tmp/calls
    """
    run = Run(folder)
    chosen = [named(run.cells(), cell)] if cell is not None else _first_of_each(run.cells())
    target = export or folder / "listen"
    check_folder("--export", target)
    player = None if export else _player()
    for title in dict.fromkeys(result.record.key.messenger for result in chosen):
        group = [result for result in chosen if result.record.key.messenger == title]
        ordered = _in_order(
            entry
            for result in track(group, description=escape(title), console=err, transient=True)
            for entry in _entries(run, result, both=cell is not None)
        )
        into = target / _file_name(title)
        _write(ordered, into)
        out.print(_table(ordered, escape(f"{into}/")))
        if player is not None:
            _play(player, ordered, into, seconds)
    if player is None and not export:
        err.print(
            f"No player is installed ({', '.join(p[0] for p in PLAYERS)}): play them elsewhere."
        )


_SAID = {way: f"what the {speaker} said" for way, speaker in SAID_BY.items()}


def named(results: Sequence[RecordedCell], part: str) -> RecordedCell:
    """Return the cell of that name, or the only cell whose name contains it."""
    found = [result for result in results if result.id == part]
    found = found or [result for result in results if part in result.id]
    if len(found) == 1:
        return found[0]
    names = ", ".join(result.id for result in (found or results)[:6])
    many = f"{len(found)} cells have {part!r} in their names" if found else f"no cell {part!r}"
    raise ResultsError(f"{many}: give one of {names}{', ...' if len(found or results) > 6 else ''}")


def _first_of_each(results: Sequence[RecordedCell]) -> list[RecordedCell]:
    """Return the first seed's cell of each messenger, transport and censor; direct ones first."""
    ordered = [group[0] for group in grouped(results).values()]
    return sorted(ordered, key=lambda result: not result.record.key.is_direct)


def _entries(run: Run, result: RecordedCell, *, both: bool) -> list[_Heard]:
    sound = sound_of(run, result)
    record = result.record
    _, transport, censor = record.key
    name = f"{transport}, {censor}, seed {record.seed}"
    if not sound.heard:
        return [_Heard(name, None, record.verdict.label, record.quality.reasons[0])]
    worst_first = [d for d in record.directions if d in sound.heard] or list(sound.heard)
    directions = worst_first if both else worst_first[:1]
    return [
        *(_Heard(_SAID[direction], sound.said[direction]) for direction in directions),
        *(
            _Heard(
                f"{name}, {HEARD_BY[direction]} hears",
                sound.heard[direction],
                record.verdict.label,
                ", ".join(record.quality.symptoms),
                _percent(record.directions.get(direction)),
            )
            for direction in directions
        ),
    ]


def _in_order(heard: Iterable[_Heard]) -> list[_Heard]:
    """Return numbered files: each text that was spoken once, then what was heard of it."""
    found = list(heard)
    said = {entry.file: entry for entry in found if entry.file in _SAID.values()}
    rest = [entry for entry in found if entry.file not in said]
    return _numbered([*(said[name] for name in sorted(said)), *rest])


def _percent(direction: DirectionQuality | None) -> str:
    return "" if direction is None else f"{100 * direction.concealed_share:.1f}"


def _numbered(entries: Sequence[_Heard]) -> list[_Heard]:
    return [
        _Heard(f"{number} {_file_name(e.file)}", e.sound, e.verdict, e.like, e.concealed)
        for number, e in enumerate(entries)
    ]


def _file_name(text: str) -> str:
    """Return text as a file name that people can read."""
    return re.sub(r"[^\w .,()=+-]+", " ", text).strip()


def _write(entries: Sequence[_Heard], into: Path) -> None:
    into.mkdir(parents=True, exist_ok=True)
    for entry in track(entries, description="files", console=err, transient=True):
        if entry.sound is not None:
            write_wav(entry.sound, into / f"{entry.file}.wav")
            write_opus(entry.sound, into / f"{entry.file}.opus")


def _table(entries: Sequence[_Heard], title: str) -> Table:
    """Return the table of what can be heard, at most 100 columns wide."""
    table = Table(box=None, pad_edge=False, padding=(0, 1), collapse_padding=True, title=title)
    table.title_justify = "left"
    table.add_column("File (.wav, .opus)", overflow="fold")
    table.add_column("Verdict", no_wrap=True)
    table.add_column("lost %", justify="right", no_wrap=True)
    table.add_column("Symptoms", overflow="fold")
    for entry in entries:
        file = escape(entry.file)
        if entry.sound is None:
            file = f"[dim]{file}: nothing to hear[/]"
        table.add_row(file, entry.verdict, entry.concealed, entry.like)
    return table


def _player() -> Sequence[str] | None:
    return next((player for player in PLAYERS if shutil.which(player[0])), None)


def _play(player: Sequence[str], entries: Sequence[_Heard], into: Path, seconds: float) -> None:
    """Play the beginning of each file; ^C skips to the next."""
    excerpt = into / ".excerpt.wav"
    for entry in entries:
        if entry.sound is None:
            continue
        out.print(f"Playing {entry.file}", markup=False)
        rate_hz = entry.sound.rate_hz
        pcm = samples(entry.sound)[: round(seconds * rate_hz)].tobytes()
        write_wav(Speech(pcm, rate_hz), excerpt)
        try:
            done = subprocess.run([*player, str(excerpt)], capture_output=True, check=False)
        except KeyboardInterrupt:
            continue
        finally:
            excerpt.unlink()
        if done.returncode != 0:
            why = _why(done.stderr.decode(errors="replace"))
            err.print(
                f"{player[0]} cannot play the files ({why}): play them elsewhere.", markup=False
            )
            return


def _why(said: str) -> str:
    """Return why a player failed: the last line that is not the sound library's own noise."""
    lines = [line.strip() for line in said.splitlines()]
    reasons = [line for line in lines if line and not line.startswith("ALSA lib")]
    return reasons[-1] if reasons else "there is no sound device"


COMMAND = Command(Panel.COMPARE, listen)
