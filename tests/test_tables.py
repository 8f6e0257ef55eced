"""The table of a run fits 100 columns, and says each thing once."""

from __future__ import annotations

from rich.console import Console

from testbed.call.symptoms import Symptom
from testbed.tables import LEGEND, Row, summary


def row(
    censor: str, transport: str = "fec {inner = hysteria2}", symptoms: tuple[str, ...] = ()
) -> Row:
    verdicts = {"good": 10, "usable": 12, "unusable": 17, "no call": 61}
    return Row(
        "WhatsApp (model)", transport, censor, verdicts, 12.345, 0.305, 1.0912, 33.4, 3000, 2999,
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
    assert text.count("WhatsApp (model)") == 1


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
    assert text.count("ru-calls-2025-08") == text.count("drop") == 1
    assert {"0.1", "0.2"} <= set(text)


def test_the_legend_fits() -> None:
    assert max(len(line) for line in LEGEND.splitlines()) <= 100
