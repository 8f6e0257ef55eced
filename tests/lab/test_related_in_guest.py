"""What is related to a flow does not change what the middlebox does to it, in a real guest."""

from __future__ import annotations

import json
from typing import Any

import pytest

from testbed.guest.kernel.builder import Kernel
from tests.lab.test_across_in_guest import in_guest

pytestmark = pytest.mark.guest
FLOWS = [(protocol, version) for protocol in ("udp", "tcp") for version in (4, 6)]
Counted = dict[str, Any]


@pytest.fixture(scope="module")
def found(kernel: Kernel, tmp_path_factory: pytest.TempPathFactory) -> Counted:
    """What boxes were asked about, of flows with errors of ICMP about them and without."""
    folder = tmp_path_factory.mktemp("related")
    in_guest(kernel, "tests.lab.programs.related", folder)
    content: Counted = json.loads((folder / "found.json").read_text())
    return content


@pytest.mark.parametrize(("protocol", "version"), FLOWS)
def test_an_error_about_a_flow_does_not_bypass_the_middlebox(
    found: Counted, protocol: str, version: int
) -> None:
    plain = found[f"watching {protocol} {version}"]
    with_errors = found[f"watching {protocol} {version} with errors"]
    assert plain["asked"] >= 20
    assert with_errors["asked"] == plain["asked"]
    assert with_errors["asked of errors"] >= with_errors["sent"] >= 26


@pytest.mark.parametrize(("protocol", "version"), FLOWS)
def test_an_error_about_a_settled_flow_is_still_asked_about(
    found: Counted, protocol: str, version: int
) -> None:
    plain = found[f"settling {protocol} {version}"]
    assert 0 < plain["asked"] <= 3
    with_errors = found[f"settling {protocol} {version} with errors"]
    assert with_errors["icmp"] == with_errors["icmp dropped"] >= 26


@pytest.mark.parametrize(("protocol", "version"), FLOWS)
def test_a_settled_flow_is_forgotten_when_it_is_silent(
    found: Counted, protocol: str, version: int
) -> None:
    """The box is asked again after the time of its profile, 10 s, and not before."""
    first, soon, late = found[f"silent {protocol} {version}"]
    assert first
    assert not soon
    assert 0 < late <= 4
