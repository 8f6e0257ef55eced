"""What tests of the lab image share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.guest.image import mirror


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is the only mirror."""
    (tmp_path / "mirror" / "pool").mkdir(parents=True)
    monkeypatch.setenv(mirror.MIRROR_VARIABLE, (tmp_path / "mirror").as_uri())
    mirror.mirrors.cache_clear()
    yield tmp_path / "mirror"
    mirror.mirrors.cache_clear()
