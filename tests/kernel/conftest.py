"""What the tests of the guest kernel share."""

import os

import pytest


@pytest.fixture(scope="session")
def cpu() -> int:
    return max(os.sched_getaffinity(0))
