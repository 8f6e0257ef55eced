"""The whole demo, held against the news of August 2025; takes a minute or two."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

from testbed.call.quality.verdict import Verdict
from testbed.record.results import CellResult, Run
from tests.test_cli import testbed

pytestmark = pytest.mark.slow
RESTRICTED = "ru-calls-2025-08"


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str, str], list[CellResult]]:
    folder = tmp_path_factory.mktemp("demo") / "run"
    done = testbed("run", RESTRICTED, "--out", str(folder), "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) == 9
    groups: dict[tuple[str, str, str], list[CellResult]] = {}
    for result in Run(Path(folder)).results():
        content = result.content
        key = (content["messenger"]["name"], content["transport"], content["censor"])
        groups.setdefault(key, []).append(result)
    return groups


def concealed(results: list[CellResult]) -> Iterator[float]:
    for result in results:
        if (worse := result.worse_direction) is not None:
            yield worse["concealed_share"]


Calls = dict[tuple[str, str, str], list[CellResult]]


def test_telegram_calls_barely_function(calls: Calls) -> None:
    results = calls["telegram", "direct", RESTRICTED]
    assert sum(r.verdict <= Verdict.UNUSABLE for r in results) >= 0.8 * len(results)


def test_whatsapp_calls_connect_and_break_up(calls: Calls) -> None:
    results = calls["whatsapp", "direct", RESTRICTED]
    assert sum(r.worse_direction is not None for r in results) >= 0.8 * len(results)
    assert all(share > 0.05 for share in concealed(results))
    # "intermittent sound and a metallic buzzing"
    heard = [set(r.symptoms) for r in results if r.worse_direction is not None]
    assert all({"intermittent", "metallic"} <= symptoms for symptoms in heard)


def test_max_is_not_touched(calls: Calls) -> None:
    free, restricted = (calls["max", "direct", censor] for censor in ("open", RESTRICTED))
    assert {r.verdict for r in free + restricted} == {Verdict.GOOD}
    assert max(concealed(restricted)) <= max(concealed(free)) + 0.02


def test_no_chat_is_touched(calls: Calls) -> None:
    for messenger in ("telegram", "whatsapp", "max"):
        delays = {}
        for censor in ("open", RESTRICTED):
            chats = [r.content["chat"] for r in calls[messenger, "direct", censor]]
            assert all(chat["delivered"] == chat["sent"] == 30 for chat in chats)
            delays[censor] = median(chat["median_s"] for chat in chats)
        assert delays[RESTRICTED] == pytest.approx(delays["open"], rel=0.02)


def test_through_obfs4_all_calls_come_back(calls: Calls) -> None:
    for messenger in ("telegram", "whatsapp", "max"):
        assert all(r.verdict >= Verdict.USABLE for r in calls[messenger, "obfs4", RESTRICTED])
