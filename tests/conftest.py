"""What all tests share: with `pytest -n`, each worker has a processor of its own."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from testbed.experiment import scenario
from testbed.experiment.link_files import LinkFiles
from testbed.guest.kernel.builder import Kernel, cached_kernel
from testbed.record.results import Run
from tests.calls import make_run
from tests.records import manifest

HERE = Path(__file__).parent
SHARING = (
    "report",
    "figures/test_figure_kinds.py",
    "lab/test_across_in_guest.py",
    "lab/test_own_code_in_guest.py",
    "lab/test_related_in_guest.py",
    "recognition/test_evaluation.py",
    "run/test_scaleout.py",
    "test_package.py",
    "transports/test_desync_in_guest.py",
)
"""Tests that share something that takes seconds to make: a report, figures, a network, a wheel."""
EXAMPLES = {"quick": 20, "thorough": 100}
"""How many examples Hypothesis tries of a property that says no number of its own."""

# How fast a machine is today decides no test.
for _name, _examples in EXAMPLES.items():
    settings.register_profile(
        _name,
        max_examples=_examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )


def pytest_configure(config: pytest.Config) -> None:
    """Try more examples where slow tests run; keep a worker to one processor.

    A guest that moves from one processor to another is slow.
    """
    settings.load_profile("quick" if config.option.markexpr.startswith("not slow") else "thorough")
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker:
        cpus = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cpus[int(worker.removeprefix("gw")) % len(cpus)]})


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in its own hook of this name
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let workers finish together, and let what tests share be made by only one of them.

    Tests with guests take seconds and so come first; the short ones at the end fill the gaps. With
    `--dist loadgroup`, the tests of a folder or module in `SHARING` run on the same worker.
    """
    items.sort(key=lambda item: item.get_closest_marker("guest") is None)
    for item in items:
        for shared in SHARING:
            if item.path.is_relative_to(HERE / shared):
                item.add_marker(pytest.mark.xdist_group(shared))


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


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of all scenarios, profiles and messengers, in which files can be put or changed."""
    folder = tmp_path / "scenarios"
    shutil.copytree(scenario.SCENARIOS, folder)
    monkeypatch.setattr(scenario, "SCENARIOS", folder)
    for name in ("CENSORS", "MESSENGERS"):
        monkeypatch.setattr(scenario, name, folder / name.lower())
    monkeypatch.setattr(scenario, "LINK_FILES", LinkFiles(folder))
    return folder
