"""The documents are true: what they tell people to run works, and what is generated is current."""

from __future__ import annotations

import pkgutil
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from markdown_it import MarkdownIt
from pydantic import TypeAdapter

import testbed
from testbed.censor.packet import Direction
from testbed.censor.profile import Profile
from testbed.cli.app import app
from testbed.experiment.loading import own_programs, transport_class
from testbed.experiment.scenario import LINK_FILES, ROOT, Scenario, load_links
from testbed.experiment.stacks import StackFile

DOCS = ROOT / "docs"
PAGES = sorted({*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob("changelog.d/README.md")})
LAB_ONLY = {"install", "test", "docs"}
"""What `./lab` does itself; it hands all other words to `testbed`."""


def blocks(page: Path, language: str) -> list[str]:
    """Return the code blocks of a page in one language."""
    tokens = MarkdownIt().parse(page.read_text())
    return [token.content for token in tokens if token.type == "fence" and token.info == language]


def named_commands() -> Iterator[tuple[str, list[str]]]:
    """Find each `./lab …` in the shell blocks of the pages: where it is, and its words."""
    for page in PAGES:
        for block in blocks(page, "sh"):
            commands = re.sub(r"<<'(\w+)'.*?^\1$", "", block, flags=re.DOTALL | re.MULTILINE)
            for part in re.split(r"\n|&&", commands):
                words = shlex.split(part, comments=True)
                if words and words[0] == "./lab":
                    yield f"{page.relative_to(ROOT)}: {part.strip()}", words[1:]


def unknown_words(words: list[str]) -> list[str]:
    """Return the subcommand or the options that the command line does not have."""
    command = typer.main.get_command(app)
    while isinstance(commands := getattr(command, "commands", None), dict):
        if not words or words[0] not in commands:
            return words[:1] or ["a subcommand is missing"]
        command, words = commands[words[0]], words[1:]
    known = {option for parameter in command.params for option in parameter.opts}
    return [word for word in words if word.startswith("--") and word not in known]


@pytest.mark.slow  # ten programs start, each with all that the command line imports
@pytest.mark.guest
def test_the_commands_of_the_tutorial_do_what_it_says(tmp_path: Path) -> None:
    python = f"exec {shlex.quote(sys.executable)}"
    for name, run in (("lab", f"{python} -m testbed.cli.app"), (".venv/bin/python", python)):
        script = tmp_path / name
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(f'#!/bin/sh\n{run} "$@"\n')
        script.chmod(0o755)
    printed = [
        subprocess.run(
            ["sh", "-eu"], input=block, cwd=tmp_path, check=True, stdout=subprocess.PIPE, text=True
        ).stdout
        for block in blocks(DOCS / "tutorial.md", "sh")
    ]
    dry_run, calls, seen, log, frame, strengths, _ = printed
    assert "3 cells" in dry_run
    assert re.search(r"direct +open +1 good", calls)
    assert re.search(r"direct +ru-calls-2025-08 +1 unusable", calls)
    assert re.search(r"obfs4 +ru-calls-2025-08 +1 good", calls)
    assert re.search(r"obfs4 .*works, not recognised", seen)
    assert "recognised as stun" in log
    assert len(re.findall(r"unusable$", frame, re.MULTILINE)) == 1
    assert re.search(r"^0\.02 +1 good", strengths, re.MULTILINE)
    assert re.search(r"^0\.3 +1 unusable", strengths, re.MULTILINE)
    assert {path.suffix for path in (tmp_path / "first" / "figures").iterdir()} == {
        ".png",
        ".svg",
        ".pdf",
    }
    assert any((tmp_path / "heard").iterdir())


@pytest.mark.parametrize(("where", "words"), list(named_commands()))
def test_each_command_in_the_documents_exists(where: str, words: list[str]) -> None:
    if words[0] not in LAB_ONLY:
        assert unknown_words(words) == [], where


def test_a_command_that_does_not_exist_is_noticed() -> None:
    assert unknown_words(["frobnicate"]) == ["frobnicate"]
    assert unknown_words(["run", "quick", "--no-such-option"]) == ["--no-such-option"]
    assert unknown_words(["check"]) == ["a subcommand is missing"]


def test_generated_pages_are_current() -> None:
    check = [sys.executable, str(DOCS / "generate.py"), "--check"]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_the_citation_names_this_version() -> None:
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.findall(r"^version: (.+)$", citation, re.MULTILINE) == [testbed.__version__]


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = [int(file.name[:4]) for file in sorted((DOCS / "decisions").glob("[0-9]*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_superseded_decision_and_its_successor_name_each_other() -> None:
    link = r"\[(\d+)\]"
    texts = {int(f.name[:4]): f.read_text() for f in (DOCS / "decisions").glob("[0-9]*.md")}
    superseded, superseding = set(), set()
    for number, text in texts.items():
        status = re.findall(r"^- Status: .*$", text, re.MULTILINE)[0]
        relation = "".join(re.findall(r"^- Relation: Supersedes.*$", text, re.MULTILINE))
        superseded |= {
            (number, int(other)) for other in re.findall(rf"superseded by {link}", status)
        }
        superseding |= {(int(other), number) for other in re.findall(link, relation)}
    amended_in_part = {(10, 29)}  # 29 supersedes the end of 10, which is called amended
    assert superseding - amended_in_part == superseded


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    built = {DOCS / "reference" / f"{name}.md" for name in ("api", "commands", "toml")}
    targets = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text())
    missing = [
        target
        for target in targets
        if not (page.parent / target).exists() and (page.parent / target).resolve() not in built
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_names_in_the_documents_exist(page: Path) -> None:
    for name in re.findall(r"`(testbed(?:\.\w+)+)`", page.read_text()):
        pkgutil.resolve_name(name)


def test_the_example_of_a_profile_is_a_profile() -> None:
    found = blocks(DOCS / "howto" / "censor.md", "toml")
    profile, scenario, sweep, series, stack = map(tomllib.loads, found)
    read = TypeAdapter(Profile).validate_python({**profile, "name": "mine"})
    assert [rule.name for rule in read.rules] == ["stun"]
    assert TypeAdapter(Scenario).validate_python(scenario).censors == ("open", "mine")
    TypeAdapter(Scenario).validate_python({**scenario, **sweep})
    TypeAdapter(Scenario).validate_python({**scenario, **series})
    parts = TypeAdapter(StackFile).validate_python(stack).parts
    assert [part.profile for part in parts] == ["mine", "ru-16kb-2025"]


def test_the_example_of_a_line_is_a_link_set(tmp_path: Path) -> None:
    written, changes, traced, nat = blocks(DOCS / "howto" / "line.md", "toml")
    head, evidence = written.split("[evidence]")
    path = tmp_path / "mine.toml"
    path.write_text(f"{head}{changes}[evidence]{evidence}")
    access = load_links(str(path.with_suffix(""))).access
    assert [change.at_s for change in access.changes] == [12, 20]
    assumed = 'access = { source = "mine", confidence = "assumed" }'
    path.write_text(f'title = "mine"\n{traced}[evidence]\n{assumed}')
    assert load_links(str(path.with_suffix(""))).access.direction(Direction.UP).trace is not None
    path.write_text(nat)
    assert len(LINK_FILES.nat(str(path)).translators) == 2


def test_the_example_of_a_transport_is_a_transport() -> None:
    kind = transport_class("mytunnel", (DOCS / "howto" / "mytunnel.py").read_text())
    assert [program.name for program in own_programs(kind)] == ["mytunnel"]
    assert str(kind()) == "Transport(padding=0)"
