"""Write a figure as PNG, SVG and PDF, so that equal figures yield equal files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from matplotlib.figure import Figure

from testbed.show.drawing.style import PNG_DPI, applied

FORMATS: Mapping[str, Mapping[str, str | None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""The metadata of each format: without date and version, so that equal figures are equal files."""


def write(figure: Figure, stem: Path) -> list[Path]:
    """Write a figure to `stem` plus each format's suffix, atomically, and return the paths."""
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
