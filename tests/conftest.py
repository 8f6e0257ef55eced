"""What all tests share: with `pytest -n`, each worker has a processor of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from testbed.guest.kernel.builder import Kernel, cached_kernel
from testbed.record.results import Run
from tests.calls import make_run
from tests.records import manifest


def pytest_configure(config: pytest.Config) -> None:
    """Keep a worker to one processor: a guest that moves from one to another is slow."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker:
        cpus = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cpus[int(worker.removeprefix("gw")) % len(cpus)]})


@pytest.fixture(scope="session")
def kernel() -> Kernel:
    """The guest kernel that `./lab test` has built."""
    built = cached_kernel()
    assert built is not None, "there is no guest kernel: run `testbed kernel build`"
    return built


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run without cells."""
    begun = Run(tmp_path / "run")
    begun.begin(manifest(), "", fresh=False)
    return begun


@pytest.fixture
def calls_run(tmp_path: Path) -> Run:
    """A run of three calls: one loses 30 % of its frames, one nothing, one was never set up."""
    return make_run(tmp_path / "run", {"direct": 0.3, "obfs4": 0.0, "tuic": None})
