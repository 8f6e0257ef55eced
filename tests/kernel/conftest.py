"""What the tests of the guest kernel share."""

import os
from pathlib import Path

import pytest

from testbed.guest.kernel import guest
from testbed.guest.kernel.builder import Kernel
from testbed.guest.kernel.usage import Watch, descendants
from testbed.guest.machine import machine_with
from tests.kernel.guest_bench import Bench


@pytest.fixture(scope="session")
def cpu() -> int:
    return max(os.sched_getaffinity(0))


@pytest.fixture
def bench(kernel: Kernel, cpu: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    # tmp_path is below /tmp, which scratch covers in the guest, and has blanks here
    folder = tmp_path / "a job's folder"
    folder.mkdir()
    guests: list[int] = []

    class Noted(Watch):
        def excess(self) -> str:
            guests.extend(descendants(self._process))
            return super().excess()

    monkeypatch.setattr(guest, "Watch", Noted)
    monkeypatch.setattr(guest, "INTERVAL_S", 0.1)
    return Bench(machine_with(kernel, ["iproute2"]), cpu, folder, guests)
