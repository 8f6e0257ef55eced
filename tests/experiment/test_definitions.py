"""Profiles, messengers and link sets: those that ship are right, and an error in one is named."""

from __future__ import annotations

from dataclasses import fields
from datetime import date
from pathlib import Path

import pytest

from testbed.call.messenger import PlayoutOptions
from testbed.evidence import Evidence
from testbed.experiment import scenario
from testbed.experiment.exclusions import check_exclusions
from testbed.experiment.explanations import ScenarioError
from testbed.experiment.link import Link
from testbed.experiment.linkset import LinkSet
from testbed.experiment.unfolding import cells

REVIEWED = 'reviewed = "2026-11-30"\n'


@pytest.mark.parametrize("name", scenario.censor_names())
def test_every_number_of_a_shipped_profile_says_where_it_comes_from(name: str) -> None:
    for rule in scenario.load_censor(name).rules:
        for evidence in rule.evidence.values():
            assert len(evidence.source) > 10


def test_a_messenger_without_evidence_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (scenario.MESSENGERS / "max.toml").read_text()
    cut = "\n".join(line for line in text.splitlines() if not line.startswith("relay_port = {"))
    (tmp_path / "max.toml").write_text(cut)
    monkeypatch.setattr(scenario, "MESSENGERS", tmp_path)
    with pytest.raises(ScenarioError, match=r"evidence is missing for \['relay_port'\]"):
        scenario.load_messenger("max")


@pytest.mark.parametrize(
    ("name", "protocols", "lacks"),
    [("webrtc", '["udp", "tls"]', "tls"), ("baresip", '["udp", "tcp"]', "tcp")],
)
def test_a_way_to_the_relay_that_cannot_be_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, protocols: str, lacks: str
) -> None:
    text = (scenario.MESSENGERS / f"{name}.toml").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("relay_protocols = [")]
    (tmp_path / f"{name}.toml").write_text(f"relay_protocols = {protocols}\n" + "\n".join(lines))
    monkeypatch.setattr(scenario, "MESSENGERS", tmp_path)
    with pytest.raises(
        ScenarioError, match=rf"relay_protocols: the engine \w+ does not support \['{lacks}"
    ):
        scenario.load_messenger(name)


def test_a_messenger_that_is_like_another_says_only_what_differs() -> None:
    relayed, peers = (scenario.load_messenger(name) for name in ("signal", "signal-p2p"))
    assert peers.peer_to_peer
    assert not relayed.peer_to_peer
    differ = {f.name for f in fields(peers) if getattr(peers, f.name) != getattr(relayed, f.name)}
    assert differ == {"title", "name", "peer_to_peer", "evidence"}
    assert peers.evidence["codec"] == relayed.evidence["codec"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("like = 'max'\nrelay_port = 1\n", r"evidence is missing for \['relay_port'\]"),
        ("like = 'nosuch'\n", "no messenger 'nosuch'"),
        ("like = 'signal-p2p'\n", "like: 'signal-p2p' is itself like 'signal'"),
        ("like = 'whatsapp'\npeer_to_peer = true\n", "whatsapp has no path without a relay"),
        ("like = 'baresip'\npeer_to_peer = true\n", "baresip has no path without a relay"),
        ("like = 'max'\nadaptation = {}\n", r"evidence is missing for \['adaptation'\]"),
        ("like = 'whatsapp'\nrepair = { nack = true }\n", r"missing for \['repair'\]"),
        ("like = 'whatsapp'\nrepair = { copies = 0 }\n", r"copies: 0 is out of range, .* 1 to 10"),
        ("like = 'telegram'\nrepair = { nack = true }\n", "ntgcalls cannot be made to send NACKs"),
        ("like = 'webrtc'\nrepair = { copies = 2 }\n", "a real engine cannot be given these"),
        ("like = 'whatsapp'\nrepair = { red = true }\n", "model cannot be made to send RED"),
        ("like = 'max'\nplayout = { min_delay_ms = 50 }\n", r"missing for \['playout'\]"),
        (
            "like = 'max'\nplayout = { min_delay_ms = -1 }\n",
            r"min_delay_ms: -1 is out of range, expected 0 to 60,000",
        ),
    ],
)
def test_a_wrong_likeness_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    for path in scenario.MESSENGERS.glob("*.toml"):
        (tmp_path / path.name).write_text(path.read_text())
    (tmp_path / "mine.toml").write_text(REVIEWED + text)
    monkeypatch.setattr(scenario, "MESSENGERS", tmp_path)
    with pytest.raises(ScenarioError, match=message):
        scenario.load_messenger("mine")


@pytest.mark.parametrize("name", scenario.link_set_names())
def test_every_number_of_a_shipped_link_set_says_where_it_comes_from(name: str) -> None:
    loaded = scenario.load_links(name)
    assert "access" in loaded.source
    assert any(f"({how})" in loaded.source for how in ("primary", "secondary", "assumed"))


@pytest.mark.parametrize(
    ("links", "evidence", "said"),
    [
        ({"access": Link(delay_ms=3)}, {}, r"missing for \['access.delay_ms'\]"),
        ({}, {"access": Evidence("x", "assumed")}, r"missing numbers: \['access'\]"),
        (
            {"access": Link(delay_ms=3)},
            {"access": Evidence("x", "assumed"), "access.loss": Evidence("x", "assumed")},
            r"missing numbers: \['access.loss'\]",
        ),
    ],
)
def test_a_link_set_cites_what_it_has_and_nothing_else(
    links: dict[str, Link], evidence: dict[str, Evidence], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        LinkSet("t", evidence, access=links.get("access", Link()))


SHIPPED = [
    *(("censor", name) for name in scenario.censor_names()),
    *(("messenger", name) for name in scenario.messenger_names()),
]


@pytest.mark.parametrize(("kind", "name"), SHIPPED)
def test_each_shipped_file_says_when_it_was_checked_against_its_sources(
    kind: str, name: str
) -> None:
    of_censor = kind == "censor"
    loaded = scenario.load_censor(name) if of_censor else scenario.load_messenger(name)
    assert date.fromisoformat(loaded.reviewed) >= date(2026, 11, 30)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("title = 't'\ndescription = 'd'\n", r"reviewed: missing: the date"),
        ("reviewed = 'soon'\ntitle = 't'\ndescription = 'd'\n", r"'soon' is no date such as 2026"),
        ("like = 'open'\ntitle = 't'\n", r"reviewed: missing: the date"),
        (REVIEWED + "like = 'nosuch'\n", r"no censor profile 'nosuch'"),
        (REVIEWED + "like = 'cn-quic-sni-2025'\n", r"is itself like 'cn-quic-sni-2024'"),
    ],
)
def test_a_profile_that_is_not_reviewed_or_wrongly_like_another_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    for path in scenario.CENSORS.glob("*.toml"):
        (tmp_path / path.name).write_text(path.read_text())
    (tmp_path / "mine.toml").write_text(text)
    monkeypatch.setattr(scenario, "CENSORS", tmp_path)
    with pytest.raises(ScenarioError, match=said):
        scenario.load_censor("mine")


def test_a_profile_like_another_has_its_rules_in_their_order_but_for_what_it_says() -> None:
    base, like = (scenario.load_censor(f"ru-whitelist-mobile{end}") for end in ("", "-reset"))
    assert like.rules[:3] == base.rules[:3]
    assert [rule.name for rule in like.rules] == [*(r.name for r in base.rules), "rest-udp"]
    assert (base.rules[3].action.kind, like.rules[3].action.kind) == ("police", "reset")
    assert like.title != base.title


def test_telegram_changes_how_calls_are_played_and_others_do_not() -> None:
    changed = {
        name
        for name in scenario.messenger_names()
        if scenario.load_messenger(name).playout != PlayoutOptions()
    }
    assert changed == {n for n in scenario.messenger_names() if n.startswith("telegram")}


def test_wherever_a_name_is_accepted_so_is_a_path(tmp_path: Path) -> None:
    for folder, name in ((scenario.CENSORS, "loss-5"), (scenario.MESSENGERS, "max")):
        (tmp_path / f"my-{name}.toml").write_text((folder / f"{name}.toml").read_text())
    (tmp_path / "line.toml").write_text((scenario.LINK_FILES.sets / "4g.toml").read_text())
    written = tmp_path / "mine.toml"
    written.write_text(
        f"""title = "t"
question = "q"
seeds = [1]
messengers = ["{tmp_path}/my-max.toml", "whatsapp"]
censors = ["open", "{tmp_path}/my-loss-5.toml"]
transports = ["direct", "hysteria2 {{salamander=true}}"]
links = ["{tmp_path}/line.toml", "home-fibre"]
exclude = [{{ links = "{tmp_path}/line.toml", messenger = "whatsapp" }}]
include = [{{ censor = "{tmp_path}/my-loss-5.toml", links = "4g" }}]
"""
    )
    loaded = scenario.load_scenario(str(written))
    check_exclusions(loaded)
    plan = cells(loaded)
    assert {cell.messenger.name for cell in plan} == {"my-max", "whatsapp"}
    assert {cell.censor.name for cell in plan} == {"open", "my-loss-5"}
    assert {(cell.messenger.name, cell.links.name) for cell in plan} == {
        *(("my-max", line) for line in ("line", "home-fibre", "4g")),
        *(("whatsapp", line) for line in ("home-fibre", "4g")),
    }
    assert {cell.censor.name for cell in plan if cell.links.name == "4g"} == {"my-loss-5"}


def test_a_transport_may_be_excluded_by_any_form_of_its_name(tmp_path: Path) -> None:
    written = tmp_path / "mine.toml"
    written.write_text(
        'title = "t"\nquestion = "q"\ntransports = ["direct", "tuic {relay=quic} through turn"]\n'
        'exclude = [{ transport = "tuic {relay = \\"quic\\", through = turn}" }]\n'
    )
    loaded = scenario.load_scenario(str(written))
    check_exclusions(loaded)
    assert {str(cell.transport) for cell in cells(loaded)} == {"direct"}
