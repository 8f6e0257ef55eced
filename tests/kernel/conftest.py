"""What the tests of the guest kernel share."""

import os

import pytest

from testbed.guest.kernel.builder import Kernel, cached_kernel


@pytest.fixture(scope="session")
def kernel() -> Kernel:
    found = cached_kernel()
    if found is None:
        pytest.fail("there is no guest kernel yet: build it with `testbed kernel build`")
    return found


@pytest.fixture(scope="session")
def cpu() -> int:
    return max(os.sched_getaffinity(0))
