"""Writes a figure as files that are equal when their figures are; what is on it: the others."""

from __future__ import annotations

import os
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from matplotlib.figure import Figure

from testbed.show.figures.style import PNG_DPI, applied

FORMATS: Mapping[str, Mapping[str, str | None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""Each format and what its metadata says: no date, no version, so equal figures are equal files."""


def write(figure: Figure, stem: Path) -> list[Path]:
    """Write a figure to `stem` + each format's suffix, whole or not at all, and give the paths."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = []
    for suffix, metadata in FORMATS.items():
        path = stem.with_name(f"{stem.name}.{suffix}")
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_bytes(_encode(figure, suffix, metadata))
        os.replace(temporary, path)  # noqa: PTH105 - the atomic one
        paths.append(path)
    return paths


def _encode(figure: Figure, suffix: str, metadata: Mapping[str, str | None]) -> bytes:
    stream = BytesIO()
    with applied():
        figure.savefig(stream, format=suffix, dpi=PNG_DPI, metadata=dict(metadata))
    return stream.getvalue()
