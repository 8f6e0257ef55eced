"""The whole demo, held against the news of August 2025; takes a minute or two."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

from testbed.call.quality.verdict import Verdict
from testbed.record.cell_record import CellRecord
from testbed.record.results import Run
from tests.test_cli import testbed

pytestmark = pytest.mark.slow
RESTRICTED = "ru-calls-2025-08"


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str, str], list[CellRecord]]:
    folder = tmp_path_factory.mktemp("demo") / "run"
    done = testbed("run", RESTRICTED, "--out", str(folder), "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) == 9
    groups: dict[tuple[str, str, str], list[CellRecord]] = {}
    for result in Run(Path(folder)).cells():
        call = result.record
        groups.setdefault((call.messenger, call.transport, call.censor), []).append(call)
    return groups


def concealed(results: list[CellRecord]) -> Iterator[float]:
    for result in results:
        if result.worse is not None:
            yield result.worse.concealed_share


Calls = dict[tuple[str, str, str], list[CellRecord]]


def test_telegram_calls_barely_function(calls: Calls) -> None:
    results = calls["telegram", "direct", RESTRICTED]
    assert sum(r.verdict <= Verdict.UNUSABLE for r in results) >= 0.8 * len(results)


def test_whatsapp_calls_connect_and_break_up(calls: Calls) -> None:
    results = calls["whatsapp", "direct", RESTRICTED]
    assert sum(r.is_set_up for r in results) >= 0.8 * len(results)
    assert all(share > 0.05 for share in concealed(results))
    # "intermittent sound and a metallic buzzing"
    heard = [set(r.quality.symptoms) for r in results if r.is_set_up]
    assert all({"intermittent", "metallic"} <= symptoms for symptoms in heard)


def test_max_is_not_touched(calls: Calls) -> None:
    free, restricted = (calls["max", "direct", censor] for censor in ("open", RESTRICTED))
    assert {r.verdict for r in free + restricted} == {Verdict.GOOD}
    assert max(concealed(restricted)) <= max(concealed(free)) + 0.02


def test_no_chat_is_touched(calls: Calls) -> None:
    for messenger in ("telegram", "whatsapp", "max"):
        delays = {}
        for censor in ("open", RESTRICTED):
            chats = [r.chat for r in calls[messenger, "direct", censor]]
            assert all(chat.delivered == chat.sent == 30 for chat in chats)
            delays[censor] = median(chat.median_s for chat in chats if chat.median_s is not None)
        assert delays[RESTRICTED] == pytest.approx(delays["open"], rel=0.02)


def test_through_obfs4_all_calls_come_back(calls: Calls) -> None:
    for messenger in ("telegram", "whatsapp", "max"):
        assert all(r.verdict >= Verdict.USABLE for r in calls[messenger, "obfs4", RESTRICTED])
