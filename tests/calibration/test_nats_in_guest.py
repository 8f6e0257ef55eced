"""NATs in a real guest: each behaves as its description, by the tests of RFC 5780."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from testbed.evidence import Evidence
from testbed.experiment.nat import Nat, Translator
from testbed.experiment.scenario import LINK_FILES
from testbed.experiment.toml_files import stems
from testbed.guest.kernel.builder import Kernel
from testbed.tools.calibration.nat_experiment import Seen
from testbed.tools.calibration.nats import calibrate_nat, judge

ASSUMED = Evidence("a test", "assumed")
CONE = Translator("endpoint-independent", "address-dependent")


@pytest.mark.guest
@pytest.mark.parametrize("name", stems(LINK_FILES.nats))
def test_a_nat_behaves_as_it_is_described(kernel: Kernel, tmp_path: Path, name: str) -> None:
    found = trio.run(calibrate_nat, LINK_FILES.nat(name), kernel, tmp_path / "job", 0)
    assert not found.failures
    assert {each.what for each in found.vectors} & {"mapping", "UDP to the outside"}


@pytest.mark.parametrize(
    ("seen", "wrong"),
    [
        (
            Seen([("a", 1), ("a", 2), ("a", 3)], [True, True, False], False, [(118, True)]),
            "mapping: expected endpoint-independent; observed: address-and-port-dependent",
        ),
        (
            Seen([("a", 1)] * 3, [True, True, True], False, [(118, True)]),
            "filtering: expected address-dependent; observed: endpoint-independent",
        ),
        (
            Seen([("a", 1)] * 3, [True, False, False], False, [(118, True)]),
            "filtering: expected address-dependent; observed: address-and-port-dependent",
        ),
        (
            Seen([("a", 1)] * 3, [True, True, False], True, [(118, True)]),
            "the address inside: expected dropped; observed: let in",
        ),
        (
            Seen([("a", 1)] * 3, [True, True, False], False, [(118, False)]),
            "after 118 s of silence: expected open; observed: closed",
        ),
        (
            Seen([None] * 3, [], False, [(118, False)]),
            "mapping: expected endpoint-independent; observed: nothing came out",
        ),
    ],
)
def test_a_nat_that_behaves_otherwise_is_out_of_tolerance(seen: Seen, wrong: str) -> None:
    nat = Nat("a test", {"home": ASSUMED}, home=CONE, name="mine")
    failures = [each.sentence() for each in judge(nat, seen) if not each.ok]
    assert any(wrong in sentence for sentence in failures)


def test_behind_two_translators_the_stricter_one_decides() -> None:
    nat = Nat(
        "a test",
        {"home": ASSUMED, "carrier": ASSUMED},
        home=CONE,
        carrier=Translator("address-and-port-dependent", "address-and-port-dependent", 30),
    )
    seen = Seen(
        [("a", 1), ("a", 2), ("a", 3)], [True, False, False], False, [(28, True), (32, False)]
    )
    assert all(each.ok for each in judge(nat, seen))
