"""Does with what an attack left what a runner does: reads, writes, prints and removes it.

As a program, it prints what has gone wrong, or `nothing`. It runs on its own, since it may wait
forever if it is not careful.
"""

from __future__ import annotations

import io
import os
import resource
import shutil
import stat
import sys
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from testbed.record.left_files import (
    LeftFileError,
    printable,
    read_left,
    write_left,
)

_MEMORY_BYTES = 1 << 30


def main(manner: str, job: Path, token: str) -> str:
    """Return what goes wrong when the job's folder is used carefully, or plainly."""
    careful = manner == "careful"
    for path in job.iterdir():
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode) and mode & stat.S_ISUID:
            return f"{path.name} would give its owner's rights to whoever starts it"
    try:
        text = _read(job, careful=careful)
        _write(job, careful=careful)
        shutil.rmtree(job)
    except (OSError, RecursionError, MemoryError) as error:
        return f"it stops: {error!r}"
    if "\x1b" in text:
        return "it sends commands to the terminal"
    return "it tells a secret" if token in text.replace(f"]0;{token}", "") else "nothing"


def _read(job: Path, *, careful: bool) -> str:
    """Read a record and return what is printed of it."""
    text = ""
    with suppress(FileNotFoundError, LeftFileError):
        content = read_left(job, "record.json") if careful else (job / "record.json").read_bytes()
        text = content.decode("utf-8", "replace")
    shown = Console(file=io.StringIO())
    shown.print(printable(text) if careful else text, markup=False)
    assert isinstance(shown.file, io.StringIO)
    return shown.file.getvalue()


def _write(job: Path, *, careful: bool) -> None:
    if careful:
        write_left(job, "heard-up.wav", b"sound")
    else:
        (job / "heard-up.wav").write_bytes(b"sound")


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    sys.stdout.write(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3]) + "\n")
    sys.stdout.flush()
    os._exit(0)
