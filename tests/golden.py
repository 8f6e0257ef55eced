"""What tests of golden hashes share: the comparison as an assertion."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from testbed.tools.golden_hashes import Observed, read_golden


def assert_golden(kind: str, name: str, observed: Observed, here: Mapping[str, str]) -> None:
    """Fail if a hash is not golden in the golden laboratory; skip in another one, and say so."""
    golden = read_golden()
    if other := golden.other_laboratory(here):
        pytest.skip(other)
    complaint = golden.complaint(kind, name, observed)
    assert not complaint, complaint
