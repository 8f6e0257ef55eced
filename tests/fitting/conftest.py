"""Fits captures of simulated calls."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.tools.fitting.capture_reading import read_capture
from testbed.tools.fitting.examination import Examination, examine
from tests.fitting.simulated import Call

Examined = Callable[..., Examination]


@pytest.fixture
def examined(tmp_path: Path) -> Examined:
    """Return a function that examines a call's captures, of both ends or one."""

    def of(call: Call, *, both_ends: bool = True, name: str = "call") -> Examination:
        near, far = (read_capture(path) for path in call.write(tmp_path, name))
        return examine(near, far if both_ends else None)

    return of
