"""Finds, builds and caches the guest kernel; standard library only, boots nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Kernel:
    """A built guest kernel and the init program that belongs to it."""

    path: Path
    init: Path
    key: str
    version: str
