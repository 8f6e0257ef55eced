"""A brief says what works, what fails and what is not known, and how old that is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from testbed.call.quality.verdict import Verdict
from testbed.experiment.scenario import load_censor
from testbed.experiment.transport_facts import transport_facts
from testbed.record.cell_record import CellRecord
from testbed.show.brief.brief_page import brief_of
from testbed.show.brief.censor_sources import age, cited, newest
from testbed.show.brief.transport_outcomes import Recorded
from tests.command import command
from tests.records import RUSSIA, record, recorded, write_run

TODAY = date(2026, 11, 30)


def calls(transport: str, verdict: Verdict, seeds: Sequence[int] = (1, 2, 3)) -> list[CellRecord]:
    return [record(transport, seed=seed, verdict=verdict) for seed in seeds]


CALLS = [
    *calls("direct", Verdict.UNUSABLE),
    *calls("hysteria2", Verdict.GOOD),
    *calls("fec {inner = tuic}", Verdict.GOOD),
    *calls("obfs4", Verdict.GOOD, seeds=[1]),
    record("tuic", seed=1), record("tuic", seed=2, verdict=Verdict.POOR),
]  # fmt: skip


def page(censor: str = RUSSIA, today: date = TODAY) -> str:
    line = Recorded("a run", "a mobile line", [recorded(one) for one in CALLS])
    html = brief_of(load_censor(censor), {}, [line], transport_facts(), today)
    text = BeautifulSoup(html, "html.parser").get_text(" ", strip=True)
    return " ".join(text.replace("\N{NO-BREAK SPACE}", " ").split())


def test_tools_stand_under_what_their_calls_say_with_apps_and_needs() -> None:
    text = page()
    works, partly, fails, unknown = (
        text.index(f" {word} ") for word in ("Works", "Works for some calls", "Fails", "Unknown")
    )
    assert works < text.index("hysteria2 (v2rayNG, Hiddify, sing-box) 3 of 3 calls usable") < partly
    assert partly < text.index("tuic (Hiddify, sing-box) 1 of 2 calls usable") < fails
    assert fails < text.index("nothing (direct calls) none of 3 calls usable") < unknown
    assert "a Hysteria 2 server abroad" in text
    assert "The other party of a call needs nothing, unless their own line is restricted" in text


def test_what_is_not_known_is_said() -> None:
    unknown = page().partition(" Unknown ")[2]
    assert "One call each, too few to say anything: obfs4." in unknown
    assert "which nobody can install: fec {inner = tuic}." in unknown
    assert "Not tried: anytls," in unknown
    assert "other lines and operators: we do not know" in unknown


def test_risks_and_sources_have_their_age() -> None:
    text = page()
    assert "useless on Russian mobile networks (April 2026). (community: 3x-ui 4104" in text
    assert "Reuters, August 2025 primary 15 months old" in text
    assert "Last checked against its sources on 2026-11-30, 0 days ago." in text
    assert "It is no instruction." in text


@pytest.mark.parametrize(
    ("censor", "today"), [("voip-block-gulf", TODAY), (RUSSIA, date(2027, 11, 30))]
)
def test_weak_or_stale_evidence_names_no_tool(censor: str, today: date) -> None:
    text = page(censor, today)
    assert "so no tool is named for it" in text
    assert "hysteria2" not in text
    assert "We do not know." in text


def test_a_dated_stack_says_why_each_part_is_taken_to_be_there(tmp_path: Path) -> None:
    out = tmp_path / "brief.html"
    done = command("brief", "ru-mobile-2026-06", "--out", str(out))
    assert done.status == 0, done.err
    text = " ".join(BeautifulSoup(out.read_text(), "html.parser").get_text(" ").split())
    assert "Russia, mobile lines, June 2026" in text
    assert "On this line: home-fibre: " in text
    assert "ru-vpn-protocols (community: net4people/bbs 274 (2023-08)" in text


def test_a_source_s_newest_date_is_found_in_its_text() -> None:
    assert newest("bbs 490 (2025-06), since August 2025 and 2021") == date(2025, 8, 1)
    assert newest("Xue et al., IMC 2022") == date(2022, 1, 1)
    assert newest("zapret 50-stun4all: cookie 0x2112A442") is None
    assert age("on 2026-11-02", TODAY) == "this month"
    assert age("2026-10", TODAY) == "1 month old"
    assert age("a forum", TODAY) == "undated"


def test_sources_are_linked_where_their_text_says_where_they_are() -> None:
    facts = [one for rule in load_censor(RUSSIA).rules for one in rule.evidence.values()]
    links = {source.words: source.link for source in cited(facts, TODAY)}
    assert links["net4people/bbs 578, tspu-docs"] == "https://github.com/net4people/bbs/issues/578"
    assert not links["Reuters, August 2025"]


def test_the_command_uses_the_published_records_or_a_run(tmp_path: Path) -> None:
    out = tmp_path / "brief.html"
    done = command("brief", RUSSIA, "--out", str(out))
    assert done.status == 0, done.err
    assert "lines" in done.out
    assert "Telegram (engine)" in out.read_text()
    run = write_run(tmp_path / "run", CALLS)
    done = command("brief", RUSSIA, "--run", str(run.folder), "--out", str(out))
    assert done.status != 0
    assert "has no calls under ru-calls-2025-08 as it is today" in done.err
