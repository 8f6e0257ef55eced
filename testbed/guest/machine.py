"""The machine on which a job runs: the guest kernel, and the tree of what the job needs."""

from __future__ import annotations

from collections.abc import Iterable

from testbed.guest.image.tree import INIT, Report, our_image
from testbed.guest.kernel.builder import Kernel
from testbed.guest.kernel.guest import Machine


def machine_with(
    kernel: Kernel, groups: Iterable[str] = (), report: Report = lambda _: None
) -> Machine:
    """Return the machine of a kernel whose tree has the lab image's base and some groups of it.

    Raises:
        ImageError: The tree cannot be made.
    """
    return Machine(kernel, our_image().tree(groups, kernel.init, report), INIT)
