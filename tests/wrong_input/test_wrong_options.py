"""Every option of every command refuses a wrong value before the command does anything."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from itertools import chain
from typing import Literal, get_args, get_origin

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from testbed.cli.app import app
from tests.wrong_input.refusals import refused, testbed
from tests.wrong_input.test_wrong_files import EXAMPLES

NO_INTEGERS = ("", "x", "1.5", "inf", "nan", "1e3", "0x10", "true", "--", "\x1b[31m", "ü")
NO_NUMBERS = ("", "x", "1,5", "0x10", "true", "\x1b[31m")


def leaves(
    command: object, words: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], object]]:
    """Yield each command that does something, by its words."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield words, command
        return
    for name, each in inner.items():
        yield from leaves(each, (*words, name))


COMMANDS = dict(leaves(typer.main.get_command(app)))


def wrong_words() -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield words after which a command cannot run, and what the answer must name."""
    for words, command in COMMANDS.items():
        for parameter in command.params:  # type: ignore[attr-defined] # click's, of no public type
            if parameter.param_type_name != "option":
                continue
            option = max(parameter.opts, key=len)
            if option == "--help":
                continue
            yield (*words, f"{option}x"), f"{option}x"
            if parameter.is_flag:  # `--sound` and `--no-sound`, too
                continue
            yield (*words, option), option
            for value in wrong_values(parameter):
                yield (*words, f"{option}={value}"), option


def wrong_values(parameter: object) -> Iterator[str]:
    """Yield values that an option cannot have, by its annotation and bounds."""
    described = parameter.type_descriptor  # type: ignore[attr-defined]
    kind, bounds = described.annotation, described.parameter_info
    if get_origin(kind) is list:
        [kind] = get_args(kind)
    if get_origin(kind) is Literal:
        yield from ("", "nosuch")
    elif issubclass(kind, Enum):
        yield from (f"{next(iter(kind)).value}x", "", "nosuch")
    elif issubclass(kind, int):
        yield from NO_INTEGERS
    elif issubclass(kind, float):
        yield from (*NO_NUMBERS, "nan")
    if bounds.min is not None:
        yield str(bounds.min - 1)
    if bounds.max is not None:
        yield str(bounds.max + 1)


WRONG = list(wrong_words())


def test_there_are_options_of_each_kind() -> None:
    named = set(chain.from_iterable(words for words, _ in WRONG))
    assert {"run", "--seedx", "--seed=1.5", "--jobs=0", "--seconds=nan", "--formatx"} <= named


@EXAMPLES
@given(st.sampled_from(WRONG))
def test_a_wrong_option_is_refused(wrong: tuple[tuple[str, ...], str]) -> None:
    words, named = wrong
    sentence = refused("option", *words)
    assert named in sentence, (words, sentence)
    assert "--help" in sentence


@EXAMPLES
@given(st.sampled_from(sorted(" ".join(words) for words in COMMANDS)), st.integers(0, 30))
def test_of_a_misspelt_command_the_right_one_is_suggested(command: str, place: int) -> None:
    *before, last = command.split()
    place %= len(last)
    misspelt = last[:place] + "q" + last[place:]
    sentence = refused("option", *before, misspelt)
    assert misspelt in sentence
    if len(last) > 4:
        assert "Did you mean" in sentence


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_an_argument_too_many_is_refused(command: tuple[str, ...]) -> None:
    arguments = [p for p in COMMANDS[command].params if p.param_type_name == "argument"]  # type: ignore[attr-defined]
    if any(argument.nargs == -1 for argument in arguments):
        pytest.skip("it takes any number of words")
    sentence = refused("option", *command, *("nosuch" for _ in arguments), "one-too-many")
    missing = "Missing option"  # is found out first
    assert any(said in sentence for said in ("one-too-many", "nosuch", missing))


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_is_there_for_every_command(command: tuple[str, ...]) -> None:
    answer = testbed(*command, "--help")
    assert (answer.status, answer.err) == (0, "")
    assert "Usage" in answer.out
