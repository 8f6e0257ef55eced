"""A report as its file has it: complete, sound, honest, and fit for a screen reader."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import date
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import soundfile
from bs4 import BeautifulSoup, Tag

from testbed.record.results import ResultsError, Run
from testbed.show.report import report_page as page_module
from testbed.show.report import write
from tests.report.conftest import HOSTILE


def data_in(page: BeautifulSoup) -> dict[str, Any]:
    block = page.find(id="data")
    assert block is not None
    found: dict[str, Any] = json.loads(block.get_text())
    return found


def name_of(element: Tag, page: BeautifulSoup) -> str:
    """What a screen reader calls an element."""
    if label := element.get("aria-label"):
        return str(label)
    if labelled := element.get("aria-labelledby"):
        target = page.find(id=str(labelled))
        assert target is not None, f"nothing has the id {labelled}"
        return target.get_text(strip=True)
    return element.get_text(strip=True)


def test_ids_are_unique_and_links_lead_somewhere(page: BeautifulSoup) -> None:
    ids = [str(element["id"]) for element in page.select("[id]")]
    assert len(ids) == len(set(ids))
    kinds = {f"call-{name}" for name in data_in(page)["kinds"]}
    targets = {str(a["href"]).removeprefix("#") for a in page.select("a[href], use[href]")}
    assert targets <= kinds | set(ids)
    assert kinds <= targets


def test_everything_to_be_found_has_a_name(page: BeautifulSoup) -> None:
    found = page.select("svg, audio, [role=region], section, nav, a, summary, table caption")
    assert {element.name for element in found} >= {"svg", "audio", "section", "nav", "a"}
    for element in found:
        assert name_of(element, page), element


def test_landmarks_headings_and_tables_are_in_order(page: BeautifulSoup) -> None:
    for landmark in ("header", "nav", "main", "footer", "h1"):
        assert len(page.select(landmark)) == 1
    levels = [int(h.name[1]) for h in page.select("h1, h2, h3, h4")]
    assert all(after - before <= 1 for before, after in pairwise(levels))
    heads = page.select("th")
    assert heads
    assert {str(th.get("scope")) for th in heads} <= {"col", "row", "rowgroup"}
    assert all(table.caption is not None for table in page.select("table"))
    assert page.select_one("html[lang=en]")


def test_nothing_is_loaded_and_only_its_own_script_may_run(page: BeautifulSoup) -> None:
    addresses = [str(e.get("src") or e.get("href")) for e in page.select("[src], [href]")]
    assert all(address.startswith(("#", "data:")) for address in addresses)
    policy = page.select_one("meta[http-equiv=Content-Security-Policy]")
    script = page.select_one("script:not([type])")
    assert policy is not None
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script.get_text().encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in str(policy["content"])
    assert str(policy["content"]).startswith("default-src 'none'")


def test_a_text_of_the_record_stays_text(page: BeautifulSoup) -> None:
    assert page.h1 is not None
    assert page.h1.get_text() == HOSTILE
    assert not page.select("img")
    assert page.title is not None
    assert page.title.get_text() == HOSTILE


def test_sounds_are_there_once_and_decode(page: BeautifulSoup) -> None:
    data = data_in(page)
    assert len(set(data["sounds"])) == len(data["sounds"])
    for text in data["sounds"]:
        sound, rate_hz = soundfile.read(BytesIO(base64.b64decode(text)))
        assert len(sound) / rate_hz == pytest.approx(data["seconds"], abs=0.1)
        assert abs(sound).max() > 0.05
    heard = {name for name, kind in data["kinds"].items() if kind["sound"]}
    assert heard == {name for name in data["kinds"] if "tuic" not in name}  # it had no call
    inline = [str(audio["src"]).partition(",")[2] for audio in page.select("#hear ~ * audio")]
    assert len(inline) == 3
    assert set(inline) <= set(data["sounds"])


def test_the_answer_is_that_of_the_calls(page: BeautifulSoup) -> None:
    text = page.select("section")[0].get_text(" ", strip=True).replace("\N{NO-BREAK SPACE}", " ")
    answer = " ".join(text.split())
    scope, best, worst = (
        answer.index(text)
        for text in (
            "In the lab, under ru-calls-2025-08 (Russia, calls on WhatsApp and Telegram, August",
            "Calls through obfs4 (Tor Browser): 2 of 2 calls usable (95 % interval: 34 to 100 %).",
            "Direct calls, and calls through tuic (Hiddify, sing-box): each none of 2 calls usable",
        )
    )
    assert scope < best < worst
    assert "Needed at the far end: obfs4: an obfs4 bridge abroad" in answer
    assert "Unknown: whether it holds at other times" in answer
    assert "2 of 2 usable (95 % interval: 34 to 100 %): obfs4" in answer
    assert "Too few calls (n = 2) to rank by R" in answer
    assert "a model of the messenger's exchanges, not its program" in answer
    assert "ru-calls-2025-08 (4 of 11)" in answer


def test_the_answer_comes_first_then_the_matrix_then_the_sound(page: BeautifulSoup) -> None:
    headings = [str(section["aria-labelledby"]) for section in page.select("main > section")]
    assert headings[:3] == ["answer", "calls", "hear"]


def test_each_call_says_in_a_sentence_what_the_middlebox_did(page: BeautifulSoup) -> None:
    data = data_in(page)
    cells = data["kinds"]["whatsapp--direct--ru-calls-2025-08"]["cells"]
    told = data["words"][cells[0]["story"]].replace("\N{NO-BREAK SPACE}", " ")
    assert "The middlebox recognised stun " in told
    assert "and dropped 300 of 1000 packets (rule stun)." in told
    assert "unusable: " in told
    [free] = data["kinds"]["whatsapp--direct--open"]["cells"][:1]
    assert data["words"][free["story"]].startswith("Nothing restricted it.")


def test_the_page_has_at_most_a_megabyte_for_a_hundred_calls(small_run: Run) -> None:
    assert (small_run.folder / "report.html").stat().st_size <= 1_000_000


def test_a_page_with_players_says_that_calls_can_be_heard(page: BeautifulSoup) -> None:
    hint = page.select_one(".hint")
    assert hint is not None
    assert "record of its calls, with sound, below" in hint.get_text()


def test_a_field_leads_to_what_is_recorded_of_its_calls(page: BeautifulSoup) -> None:
    data = data_in(page)
    field = page.select_one('#matrix a[href="#call-whatsapp--direct--ru-calls-2025-08"]')
    assert field is not None
    assert field.get_text(" ") == "0/2 unusable"
    kind = data["kinds"]["whatsapp--direct--ru-calls-2025-08"]
    assert [cell["seed"] for cell in kind["cells"]] == [1, 2]
    cell = kind["cells"][0]
    first, lost = cell["lost"]["up"]
    assert first == 0
    assert 20 < sum(lost) / len(lost) < 40
    assert [data["words"][i] for i in cell["like"]] == ["intermittent", "metallic"]
    assert data["words"][cell["events"][0][2]] == "recognised as stun"
    assert data["words"][cell["rules"][0]] == "stun: 1000 packets, 300 of them dropped"


def test_each_number_of_a_censor_has_its_source(page: BeautifulSoup) -> None:
    rows = [row.get_text("|", strip=True) for row in page.select("table.rules tr")]
    assert any(
        row.startswith("probability|0.3|no source gives one") and row.endswith("|assumed")
        for row in rows
    )


def test_it_says_how_to_repeat_the_run(page: BeautifulSoup, small_run: Run) -> None:
    text = page.select("section")[-1].get_text(" ")
    assert f"./lab run {small_run.folder}/scenario.toml --seed 1 --seed 2 --out" in text
    assert hashlib.sha256((small_run.folder / "run.json").read_bytes()).hexdigest() in text
    assert "0.1.0 (code 123)" in text


def test_the_command_says_what_the_page_has(answered: str) -> None:
    assert "8 calls, 3 with sound" in answered


@pytest.mark.slow  # draws and encodes everything again
def test_the_same_page_is_written_each_time(
    small_run: Run, page: BeautifulSoup, tmp_path: Path
) -> None:
    assert page.h1 is not None
    target = tmp_path / "new" / "again.html"
    write(small_run, target, lambda _: None, date(2026, 11, 30))
    assert target.read_bytes() == (small_run.folder / "report.html").read_bytes()


def test_a_page_may_be_without_players(small_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "drawings_of", lambda _run, _tell: [])
    silent = page_module.page_of(small_run, lambda _: None, date(2026, 11, 30), with_sound=False)
    assert silent.sounds == 0
    soup = BeautifulSoup(silent.html, "html.parser")
    assert not soup.select("audio, #hear")
    assert "with sound" not in soup.select("section")[1].get_text()


def test_a_run_without_calls_is_an_error(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="has no calls to report"):
        write(run, tmp_path / "report.html", lambda _: None, date(2026, 11, 30))
    with pytest.raises(ResultsError, match="is not a run's folder"):
        write(Run(tmp_path), tmp_path / "report.html", lambda _: None, date(2026, 11, 30))
    assert not (tmp_path / "report.html").exists()
