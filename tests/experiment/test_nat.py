"""NATs: what a file may say, by what name links are behind them, and where they do not fit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from testbed.evidence import Evidence
from testbed.experiment.explanations import ScenarioError
from testbed.experiment.nat import Nat, Translator
from testbed.experiment.scenario import LINK_FILES, Scenario, load_links
from testbed.experiment.unfolding import cells
from testbed.lab.net.plan import plan_of
from testbed.lab.net.topology import CallTopo

ASSUMED = Evidence("a test", "assumed")
STRICT = Translator("address-and-port-dependent", "address-and-port-dependent")
SCENARIO = Scenario(
    "a test", "?", messengers=("telegram-p2p",), links="home-fibre behind symmetric and full-cone"
)


def test_links_are_behind_the_nats_that_their_name_ends_with() -> None:
    links = load_links("ru-home behind symmetric and full-cone")
    assert links.caller_nat is not None
    assert links.callee_nat is not None
    assert (links.caller_nat.name, links.callee_nat.name) == ("symmetric", "full-cone")
    assert links.access == load_links("ru-home").access


def test_a_link_set_has_nats_of_its_own() -> None:
    links = load_links("ru-home")
    assert links.caller_nat == LINK_FILES.nat("port-restricted")
    assert links.callee_nat is None
    assert load_links("home-fibre").caller_nat is None


def test_calls_are_named_by_their_nats() -> None:
    names = ("home-fibre behind symmetric and full-cone", "home-fibre")
    found = {cell.links.name for cell in cells(replace(SCENARIO, links=names))}
    assert found == set(names)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("home-fibre behind symetric and full-cone", "no NAT 'symetric'.*symmetric"),
        ("home-fibre behind symmetric", "no link set 'home-fibre behind symmetric'"),
    ],
)
def test_a_wrong_name_is_told(text: str, said: str) -> None:
    with pytest.raises(ScenarioError, match=said):
        load_links(text)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            replace(SCENARIO, links="home-fibre behind symmetric and cgnat"),
            "only in the topology both-sides",
        ),
        (replace(SCENARIO, messengers=("signal-p2p",)), "a model finds no way through symmetric"),
    ],
)
def test_a_nat_that_does_not_fit_is_refused(wrong: Scenario, said: str) -> None:
    with pytest.raises(ScenarioError, match=said):
        cells(wrong)


def test_a_translator_needs_a_source_and_an_order_that_exists() -> None:
    with pytest.raises(ValueError, match="evidence is missing for"):
        Nat("a test", {}, home=STRICT)
    with pytest.raises(ValueError, match=r"missing values: \['carrier'\]"):
        Nat("a test", {"home": ASSUMED, "carrier": ASSUMED}, home=STRICT)
    with pytest.raises(ValueError, match="a port is open for that endpoint alone"):
        Translator("address-and-port-dependent", "endpoint-independent")


def test_only_the_routers_of_a_nat_translate() -> None:
    plain = plan_of(CallTopo(load_links("home-fibre"), 1))
    assert not any(node.rules for node in plain.nodes.values())
    links = load_links("home-fibre behind cgnat and symmetric")
    plan = plan_of(CallTopo(links, 1))
    assert {name for name, node in plan.nodes.items() if node.rules} == {
        "caller-gw",
        "access",
        "callee-gw",
    }
    assert plan.nodes["access"].forgets_udp_s == 120
    assert "fully-random" in plan.nodes["callee-gw"].rules


def test_links_have_the_neighbour_that_their_name_says() -> None:
    links = load_links("home-fibre beside upload behind symmetric and none")
    assert links.neighbour == "upload"
    assert links.caller_nat == LINK_FILES.nat("symmetric")
    assert load_links("home-fibre beside video").neighbour == "video"
    assert load_links("home-fibre").neighbour == "none"
    with pytest.raises(ScenarioError, match=r"no neighbour 'uplaod'.*upload"):
        load_links("home-fibre beside uplaod")
