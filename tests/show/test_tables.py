"""The table of a run fits 100 columns, and says each thing once."""

from __future__ import annotations

from rich.console import Console

from testbed.call.quality.symptoms import Symptom
from testbed.call.quality.verdict import Verdict
from testbed.record.cell_record import CallKey
from testbed.show.run_tables import LEGEND, Row, summary, table_by_keys


def row(
    censor: str,
    transport: str = "fec {inner = hysteria2}",
    symptoms: tuple[str, ...] = (),
    messenger: str = "WhatsApp (model)",
) -> Row:
    verdicts = {
        Verdict.GOOD: 10, Verdict.USABLE: 12, Verdict.UNUSABLE: 17, Verdict.NO_CALL: 61,
    }  # fmt: skip
    return Row(
        CallKey(messenger, transport, censor), verdicts, 12.345, 0.305, 1.0912, 33.4, 3000, 2999,
        0.0402, 3456.7, 123.4, symptoms,
    )  # fmt: skip


def lines(*rows: Row) -> list[str]:
    console = Console(width=100, highlight=False)
    with console.capture() as capture:
        console.print(summary(rows))
    return [line.rstrip() for line in capture.get().splitlines()]


def test_a_wide_row_fits_and_loses_nothing() -> None:
    printed = lines(row("open", "direct"), row("ru-calls-2025-08"))
    assert all(len(line) <= 100 for line in printed)
    text = " ".join(" ".join(printed).split())
    for part in ("12.35", "30.5", "1091", "2999/3000 40.2", "28x"):
        assert text.count(part) == 2
    assert text.count("Messenger: WhatsApp (model)") == text.count("WhatsApp") == 1


def test_what_calls_were_like_stands_below_their_verdict_and_fits() -> None:
    every = tuple(str(symptom) for symptom in Symptom)
    printed = lines(row("open", "direct", every), row("ru-calls-2025-08"))
    assert all(len(line) <= 100 for line in printed)
    words = " ".join(" ".join(printed).replace(",", "").split())
    for symptom in ("dropped", "intermittent", "metallic", "laggy"):
        assert words.count(symptom) == 1
    assert "no set-up" not in words  # "no call" says it


def test_one_profile_is_named_once_and_a_sweep_shows_what_varies() -> None:
    printed = lines(row("ru-calls-2025-08 drop=0.1"), row("ru-calls-2025-08 drop=0.2"))
    text = " ".join(printed).split()
    assert "Censor: ru-calls-2025-08, with drop varied" in " ".join(text)
    assert text.count("ru-calls-2025-08,") == 1
    assert {"0.1", "0.2"} <= set(text)


def test_the_legend_fits() -> None:
    assert max(len(line) for line in LEGEND.splitlines()) <= 100


def test_what_all_rows_share_is_said_once_and_leaves_room_for_words() -> None:
    """As of `repair` and `messengers`: no heading and no word is cut."""
    every = tuple(str(symptom) for symptom in Symptom)
    titles = ("WhatsApp + copies, experiment (model)", "Telegram peer to peer (model)")
    censors = ("ru-calls-2025-08", "burst-loss", "shape-64k")
    printed = lines(*(row(c, "direct", every, m) for m in titles for c in censors))
    assert all(len(line) <= 100 for line in printed)
    assert printed[0] == "Transport: direct"
    words = " ".join(printed[1:]).replace(",", "").split()
    assert words.count("direct") == 0
    for word in (*censors, "intermittent", "metallic", "experiment", "unusable"):
        assert word in words
    assert "…" not in words


def test_with_every_column_no_word_is_cut_either() -> None:
    every = tuple(str(symptom) for symptom in Symptom)
    printed = lines(
        row("ru-calls-2025-08", "hysteria2", every),
        row("burst-loss", symptoms=every, messenger="Signal peer to peer (model)"),
    )
    assert all(len(line) <= 100 for line in printed)
    words = " ".join(printed).replace(",", "").split()
    for word in ("Transport", "ru-calls-2025-08", "intermittent", "unusable", "hysteria2}", "28x"):
        assert word in words


def test_the_legend_says_that_r_may_be_below_0() -> None:
    assert "below 0" in " ".join(LEGEND.split())


def test_a_time_of_day_that_all_calls_have_stands_above_the_table() -> None:
    keys = [CallKey("A", transport, "by-hour at 20:00") for transport in ("direct", "obfs4")]
    table, begins = table_by_keys(keys)
    assert str(table.title).endswith("Censor: by-hour at 20:00 (local time)")
    assert begins == [["direct"], ["obfs4"]]
    several = [CallKey("A", "direct", f"by-hour at {at}") for at in ("05:00", "20:00")]
    assert [begin[-1] for begin in table_by_keys(several)[1]] == ["at 05:00", "at 20:00"]
