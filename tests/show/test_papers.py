"""Tables for papers and citations: right to the letter, and nothing invented."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from testbed.cli.app import app
from testbed.evidence import Evidence
from testbed.show.bibliography import bibtex, sources
from testbed.show.papers import escaped
from tests.analysis.test_comparison import two_transports
from tests.records import write_run


def printed(*words: str) -> str:
    answer = CliRunner().invoke(app, list(words))
    assert answer.exit_code == 0, answer.output
    return answer.stdout


def test_a_markdown_table_has_a_row_a_kind_of_call_and_says_n(tmp_path: Path) -> None:
    lines = printed("table", str(write_run(tmp_path / "run", two_transports()).folder)).splitlines()
    assert len({line.count("|") for line in lines[:4]}) == 1
    assert lines[2].startswith("| WhatsApp (model) | obfs4 | ru-calls-2025-08 | 3 | 100 | 44-100 |")
    assert "n = 3 calls per row" in lines[-1]
    assert "EVS as proxy for Opus" in lines[-1]
    assert "with a coverage of at most 75%" in lines[-1]


def test_a_latex_table_escapes_names_and_closes_what_it_opens(tmp_path: Path) -> None:
    calls = [replace(call, transport="fec {inner = vless_ws_tls}") for call in two_transports()[3:]]
    text = printed("table", str(write_run(tmp_path / "run", calls).folder), "--format", "latex")
    assert r"fec \{inner = vless\_ws\_tls\}" in text
    opened, closed = (re.findall(rf"\\{word}{{(\w+)}}", text) for word in ("begin", "end"))
    assert opened == closed[::-1] == ["table", "tabular"]
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {12}


@given(st.text())
def test_escaped_text_has_no_bare_special_character(text: str) -> None:
    bare = re.sub(
        r"\\(?:textbackslash|textasciitilde|textasciicircum){}|\\[&%$#_{}]", "", escaped(text)
    )
    assert not set(bare) & set("\\&%$#_{}~^")


def test_a_source_is_cited_once_with_all_that_rest_on_it() -> None:
    paper = Evidence("Xue et al., IMC 2021 (doi 10.1145/3487552.3487858): policing", "primary")
    post = Evidence("net4people/bbs 578, ch. 8; Other 2024: a cycle", "community")
    guess = Evidence("near what others do", "assumed")
    found = sources({"one": [paper, post, guess], "two": [paper]})
    assert [source.words for source in found] == [
        "Xue et al., IMC 2021 (doi 10.1145/3487552.3487858)",
        "net4people/bbs 578, ch. 8",
        "Other 2024",
    ]
    text = bibtex(found)
    assert "doi = {10.1145/3487552.3487858}" in text
    assert "author = {Xue and others}" in text
    assert "year = {2021}" in text
    assert "url = {https://github.com/net4people/bbs/issues/578}" in text
    assert "Cited by one (primary), two (primary)" in text
    assert text.count("@misc{") == 3


def test_what_ships_gives_keys_that_are_all_different() -> None:
    text = printed("cite")
    keys = re.findall(r"@misc\{(.+),", text)
    assert len(keys) == len(set(keys)) > 10
    for entry in text.split("\n\n"):
        assert entry.count("{") == entry.count("}")


def test_a_profile_of_guesses_has_no_source_and_an_unknown_name_is_refused() -> None:
    assert printed("cite", "loss-5") == ""
    answer = CliRunner().invoke(app, ["cite", "loss-55"])
    assert answer.exception is not None
    assert "nothing is called loss-55" in str(answer.exception)


@pytest.mark.parametrize("words", [["table", "nowhere"], ["compare", "nowhere"]])
def test_no_run_is_said(words: list[str]) -> None:
    answer = CliRunner().invoke(app, words)
    assert "not a run's folder" in str(answer.exception)
