"""What a reader may rely on in an answer: its order, its certainty, its scope, and its silence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date

import pytest

from testbed.analysis.comparison import compare
from testbed.analysis.statistics import Estimate
from testbed.analysis.sweeps import limits
from testbed.call.quality.verdict import Verdict
from testbed.censor.profile import Profile
from testbed.experiment.scenario import load_censor
from testbed.experiment.transport_facts import transport_facts
from testbed.record.cell_record import CellRecord
from testbed.record.manifest import Manifest, TransportDefinition
from testbed.show.answer import Answer, answer
from testbed.show.answer.headline import SINGLE, restriction
from testbed.show.answer.standing import standing
from testbed.show.answer.wording import Ranked, ranking, with_apps
from testbed.transport.interface import TransportError
from tests.records import RUSSIA, manifest, record, recorded

TODAY = date(2026, 11, 30)
GOOD, USABLE, UNUSABLE = Verdict.GOOD, Verdict.USABLE, Verdict.UNUSABLE


def calls(
    verdicts: Mapping[tuple[str, str], Verdict], seeds: Iterable[int] = (1, 2, 3)
) -> list[CellRecord]:
    """Calls through transports under censors, for each seed."""
    return [
        record(transport, censor, seed, verdict)
        for (transport, censor), verdict in verdicts.items()
        for seed in seeds
    ]


def with_profiles(*profiles: Profile) -> Manifest:
    about = manifest()
    censors = {profile.name: profile for profile in profiles}
    return replace(about, definitions=replace(about.definitions, censors=censors))


def answered(records: Sequence[CellRecord], *profiles: Profile, today: date = TODAY) -> Answer:
    cells = [recorded(one) for one in records]
    known = transport_facts()
    return answer(compare(cells), limits(cells), with_profiles(*profiles), known, today)


def said(found: Answer) -> str:
    return " ".join((*found.headline, *found.needs)).replace("\N{NO-BREAK SPACE}", " ")


BOTH = {("direct", RUSSIA): UNUSABLE, ("hysteria2", RUSSIA): GOOD}


def test_the_best_comes_first_with_its_certainty_and_its_scope() -> None:
    first, *others = answered(calls(BOTH), load_censor(RUSSIA)).headline
    assert first == (
        "In the lab, under ru-calls-2025-08 (Russia, calls on WhatsApp and Telegram, August 2025; "
        "strengths assumed; sources up to 2026-11-30):"
    )
    best, worst = (line.replace("\N{NO-BREAK SPACE}", " ") for line in others)
    assert best.endswith(": 3 of 3 calls usable (95 % interval: 44 to 100 %).")
    assert worst == "Direct calls: none of 3 calls usable (95 % interval: 0 to 56 %)."


def test_apps_and_what_both_ends_need_stand_beside_a_protocol() -> None:
    text = said(answered(calls(BOTH), load_censor(RUSSIA)))
    assert "Calls through hysteria2 (v2rayNG, Hiddify, …): 3 of 3" in text
    assert "Needed at the far end: hysteria2: a Hysteria 2 server abroad." in text
    assert "The other party needs nothing, unless their own line is restricted" in text


def test_one_call_of_each_kind_has_no_headline() -> None:
    found = answered(calls(BOTH, seeds=[1]), load_censor(RUSSIA))
    assert list(found.headline) == [SINGLE] == ["One call each: try more seeds."]
    assert not found.needs


def test_calls_of_messengers_that_differ_are_counted_by_messenger() -> None:
    records = [*calls(BOTH), *(record("direct", seed=s, messenger="MAX") for s in (1, 2, 3))]
    text = said(answered(records, load_censor(RUSSIA)))
    assert (
        "Direct calls: 3 of 6 calls usable (95 % interval: 19 to 81 %): MAX (model) 3 of 3, "
        in text
    )
    assert "WhatsApp (model) none of 3" in text


def test_a_profile_whose_recognition_is_guessed_names_no_tool() -> None:
    gulf = {("direct", "voip-block-gulf"): UNUSABLE, ("hysteria2", "voip-block-gulf"): GOOD}
    found = answered(calls(gulf), load_censor("voip-block-gulf"))
    assert said(found) == (
        "No source says what voip-block-gulf recognises, so no tool is named for it."
    )


def test_a_profile_that_was_checked_too_long_ago_names_no_tool() -> None:
    later = date(2027, 6, 30)
    text = said(answered(calls(BOTH), load_censor(RUSSIA), today=later))
    assert "hysteria2" not in text
    assert "was last checked on 2026-11-30" in text
    assert "hysteria2" in said(answered(calls(BOTH), load_censor(RUSSIA), today=date(2027, 5, 1)))


def test_a_made_up_condition_is_called_so() -> None:
    scope = standing("loss-10", load_censor("loss-10"), TODAY).scope
    assert scope == ("loss-10 (10 % of all packets lost; a made-up condition, no country's censor)")


def test_what_a_run_cannot_tell_is_said() -> None:
    assumed, other = answered(calls(BOTH), load_censor(RUSSIA)).unknown
    assert assumed.startswith("Assumed, because no source says it: domestic.match, ")
    assert other.startswith("Unknown: whether it holds at other times")


def test_few_calls_are_not_ranked_by_r() -> None:
    [statement] = answered(calls(BOTH)).by_censor[RUSSIA]
    assert (
        statement.notes[0]
        == "Too few calls (n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}3) to rank by R (E-model)."
    )


def test_ties_of_enough_calls_are_said_as_ties() -> None:
    records = [
        record(transport, seed=seed, r=90.0 + seed % 3, verdict=GOOD)
        for transport in ("obfs4", "tuic")
        for seed in range(6)
    ] + [record("direct", seed=seed, r=30.0, verdict=UNUSABLE) for seed in range(6)]
    [statement] = answered(records).by_censor[RUSSIA]
    assert statement.notes[0] == "By R (E-model), the first rank is shared by obfs4 and tuic."


# --- several restrictions


def test_several_restrictions_are_counted_and_those_that_defeat_the_best_are_named() -> None:
    verdicts = {
        ("direct", "a"): GOOD, ("direct", "b"): UNUSABLE, ("direct", "c"): UNUSABLE,
        ("obfs4", "a"): GOOD, ("obfs4", "b"): GOOD, ("obfs4", "c"): UNUSABLE,
    }  # fmt: skip
    lines = answered(calls(verdicts)).headline
    assert list(lines) == [
        "In the lab, over 3 restrictions:",
        "Calls through obfs4 (Tor Browser): every call usable in 2 of 3, not under c.",
        "Direct calls: every call usable in 1 of 3, not under b and c.",
        "These counts are not probabilities: restrictions are not equally common.",
    ]


def test_nothing_is_called_most_when_all_were_kept() -> None:
    verdicts = {("obfs4", "a"): GOOD, ("obfs4", "b"): GOOD, ("direct", "a"): UNUSABLE}
    text = said(answered(calls(verdicts)))
    assert "every call usable in 2 of 2." in text
    assert "most" not in text


# --- a sweep


def swept(last_by_seed: Mapping[int, int], transport: str = "direct") -> list[CellRecord]:
    """Calls over lines with more and more loss; each seed's calls are usable up to a place."""
    return [
        record(transport, f"loss-5 loss={loss:g}", seed, GOOD if place <= last else UNUSABLE)
        for seed, last in last_by_seed.items()
        for place, loss in enumerate((0, 0.02, 0.05, 0.1, 0.2))
    ]


def test_a_sweep_is_answered_with_a_number_and_an_interval() -> None:
    records = swept({1: 1, 2: 2, 3: 3}) + swept(dict.fromkeys((1, 2, 3), 4), "obfs4")
    profile = replace(load_censor("loss-5"), name="loss-5 loss=0")
    lines = [
        line.replace("\N{NO-BREAK SPACE}", " ") for line in answered(records, profile).headline
    ]
    assert lines[0] == (
        "In the lab, under loss-5 (5 % of all packets lost; a made-up condition, no country's "
        "censor), with loss varied, calls stayed usable:"
    )
    assert lines[1:3] == [
        "WhatsApp (model), calls through obfs4 (Tor Browser): at all values tried, up to 20 %.",
        "WhatsApp (model), direct calls: up to 5 % (2 to 20 %).",
    ]


def test_a_sweep_that_fails_at_once_is_said_to_do_so() -> None:
    lines = answered(swept({1: -1, 2: -1}) + swept({1: 3, 2: 3}, "obfs4")).headline
    assert lines[2] == "WhatsApp (model), direct calls: not even at 0\N{NO-BREAK SPACE}%."


def test_a_rate_is_swept_from_the_highest_down() -> None:
    records = [
        record("direct", f"police-128k rate_bps={rate}", seed, GOOD if rate > 40_000 else UNUSABLE)
        for seed in (1, 2)
        for rate in (16_000, 32_000, 64_000, 128_000)
    ]
    line = answered(records).headline[1]
    assert line == "WhatsApp (model), direct calls: down to 64 kbit/s (64 to 32 kbit/s)."


# --- broken transports


def unconnected(transport: str, censor: str, seed: int) -> CellRecord:
    """A call of which the transport never connected, and which no censor touched."""
    one = record(transport, censor, seed, Verdict.NO_CALL)
    seen = one.observation
    untouched = {
        name: replace(box, rules={"stun": {"matched": 3, "dropped": 0}})
        for name, box in seen.middleboxes.items()
    }
    lost = replace(seen.transport, connect_s=None, reason=str(TransportError("it exited")))
    return replace(one, observation=replace(seen, transport=lost, middleboxes=untouched))


def test_a_transport_that_does_not_connect_without_a_restriction_is_broken() -> None:
    bad = [unconnected("mine", censor, s) for censor in ("open", RUSSIA) for s in (1, 2, 3)]
    text = said(answered([*calls(BOTH), *bad], load_censor(RUSSIA)))
    assert "Broken here: mine, which does not connect even without a restriction." in text
    assert "through mine" not in text


def test_a_transport_that_no_censor_touched_and_that_does_not_connect_is_broken() -> None:
    bad = [unconnected("mine", RUSSIA, seed) for seed in (1, 2, 3)]
    [comparison] = compare([recorded(one) for one in bad])
    assert comparison.broken == "does not connect, and no censor touched a packet of it"


@pytest.mark.parametrize("connects_s", [None, 0.3])
def test_a_transport_that_a_censor_stops_is_not_broken(connects_s: float | None) -> None:
    blocked = calls({("obfs4", RUSSIA): Verdict.NO_CALL})
    records = [
        replace(
            one,
            observation=replace(
                one.observation, transport=replace(one.observation.transport, connect_s=connects_s)
            ),
        )
        for one in blocked
    ]
    [comparison] = compare([recorded(one) for one in records])
    assert not comparison.broken


# --- names


def test_no_restriction_is_none_over_any_links() -> None:
    assert restriction("open") == "no restriction"
    assert restriction("open over 4g") == "no restriction over 4g"
    assert restriction("open-ended over 4g") == "open-ended over 4g"


def test_a_transport_with_parameters_has_the_apps_of_its_kind() -> None:
    known = transport_facts()
    assert with_apps("hysteria2 {salamander = true}", known).startswith("hysteria2 {salamander")
    assert "v2rayNG" in with_apps("hysteria2 {salamander = true}", known)
    assert with_apps("mine", known) == "mine"
    assert with_apps("fec {inner = tuic}", known) == "fec {inner = tuic} (a method, no program)"


def test_a_name_that_a_scenario_chose_has_the_facts_of_its_kind() -> None:
    about = with_profiles(load_censor(RUSSIA))
    own = {"fakes": TransportDefinition(kind="desync")}
    about = replace(about, definitions=replace(about.definitions, transports=own))
    cells = [
        recorded(one) for one in calls({("fakes", RUSSIA): GOOD, ("direct", RUSSIA): UNUSABLE})
    ]
    text = said(answer(compare(cells), [], about, transport_facts(), TODAY))
    assert "Calls through fakes (zapret (nfqws, winws), ByeDPI, …): 3 of 3 calls usable" in text
    assert "Both ends of the call must use fakes." in text
    assert "The other party needs nothing" not in text


def ranked(warning: str = "") -> list[str]:
    return ranking(
        [
            Ranked("obfs4", Estimate(0.2, 0.1, 0.4, 20), is_best=False),
            Ranked("tuic", Estimate(0.85, 0.6, 0.95, 20), is_best=True),
            Ranked("hysteria2", Estimate(0.9, 0.7, 0.97, 20), is_best=True),
        ],
        transport_facts(),
        scope="20 censors that fit the 15 reports of ru-calls-2025",
        warning=warning,
        unknown=["how deep the box looks."],
    )


def test_a_ranking_names_ties_and_under_how_many_censors_they_fail() -> None:
    lines = [line.replace("\N{NO-BREAK SPACE}", " ") for line in ranked()]
    assert lines[0].endswith("usable most often through these, which cannot be told apart:")
    assert lines[1] == (
        "hysteria2 (v2rayNG, Hiddify, …): 18 of 20 calls usable (95% interval: 70 to 97%); under 2 "
        "of 20 censors they fail."
    )
    assert lines[2].endswith("under 3 of 20 censors they fail.")
    assert "Needed at the far end: hysteria2: a Hysteria 2 server abroad" in lines[3]
    assert lines[-1] == "Unknown: how deep the box looks."
    assert not any("obfs4" in line for line in lines)


def test_a_ranking_from_old_reports_names_no_tool() -> None:
    assert ranked("The reports are old.") == ["The reports are old."]
