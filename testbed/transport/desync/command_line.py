r"""Turn what people paste into words: a command, a batch file, a line of a configuration.

Understood are continued lines (`^`, `\`), quotes, comments, `set "NAME=VALUE"` and its `%NAME%`,
`start "title" /min "…winws.exe"`, `NFQWS_OPT="…"`, and the placeholders for lists in zapret's
configuration. Everything before the program's name is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_CONTINUED = re.compile(r"[ \t]*[\^\\][ \t]*\r?\n")
_COMMENT = re.compile(r"^\s*(::|#|@|rem\b|call\b|cd\b|chcp\b|echo\b)", re.IGNORECASE)
_SET = re.compile(r"^\s*set\s+\"?([A-Za-z_]\w*)=(.*?)\"?\s*$", re.IGNORECASE)
_VARIABLE = re.compile(r"%([A-Za-z_]\w*)%")
_OWN_FOLDER = "%~dp0"
_ASSIGNED = re.compile(r"^\s*(?:export\s+)?[A-Z][A-Z0-9_]*=(?=[\"'])")
_WORD = re.compile(r"""(?:"[^"]*"?|'[^']*'?|[^\s"'])+""")
_PLACEHOLDER = re.compile(r"[<\u02c2](HOSTLIST(?:_NOAUTO)?)[>\u02c3]")
"""zapret's configuration writes these for the lists that its start script fills in."""
PROGRAMS = re.compile(
    r"^(?:.*[/\\])?(nfqws2?|winws2?|dvtws2?|ciadpi|byedpi|tpws2?|goodbyedpi|youtubeUnblock)"
    r"(?:\.exe)?$",
    re.IGNORECASE,
)
GAME_FILTER = "12"
"""What zapret-discord-youtube's scripts set as `GameFilter` where it is off (service.bat)."""


def words(text: str) -> tuple[str, list[str], list[str]]:
    """Return the program that a text names, or an empty string, its arguments, and notes.

    It never raises.
    """
    lines = _CONTINUED.sub(" ", text).splitlines()
    variables: dict[str, str] = {}
    kept = []
    for line in lines:
        if (found := _SET.match(line)) is not None:
            variables[found[1].lower()] = found[2]
        elif not _COMMENT.match(line):
            kept.append(_ASSIGNED.sub("", line))
    joined = _PLACEHOLDER.sub(r"--hostlist=\1", " ".join(kept))
    notes: dict[str, None] = {}
    joined = _filled(joined, variables, notes).replace(_OWN_FOLDER, "")
    unquoted = map(_unquoted, _WORD.findall(_without_outer_quotes(joined)))
    found_words = [word for word in unquoted if word]
    for number, word in enumerate(found_words):
        if (program := PROGRAMS.match(word)) is not None:
            return program[1].lower(), found_words[number + 1 :], list(notes)
    return "", found_words, list(notes)


def _filled(text: str, variables: Mapping[str, str], notes: dict[str, None]) -> str:
    """Replace batch variables, also in the values of others."""

    def value(match: re.Match[str]) -> str:
        name = match[1].lower()
        if name in variables:
            return _VARIABLE.sub("", variables[name])
        if name.startswith("gamefilter"):
            notes[f"%{match[1]}% is taken to be off (port {GAME_FILTER})"] = None
            return GAME_FILTER
        notes[f"%{match[1]}% is not set in what was pasted; it is left empty"] = None
        return ""

    return _VARIABLE.sub(value, text)


def _without_outer_quotes(text: str) -> str:
    """Return the content of a text that is quoted as a whole, as in `NFQWS_OPT="…"`."""
    text = text.strip()
    for quote in "\"'":
        if len(text) > 1 and text[0] == text[-1] == quote and text.count(quote) == 2:
            return text[1:-1]
    return text


def _unquoted(word: str) -> str:
    return word.replace('"', "").replace("'", "")


def options(
    arguments: Sequence[str], takes_value: Sequence[str], short: Mapping[str, str]
) -> list[tuple[str, str | None]]:
    """Return options with their values, as getopt_long(3) reads them.

    `takes_value` are the long names whose value may be the next word; `short` has the long names of
    short options, which may be joined with their value. Other words have the name "".
    """
    found: list[tuple[str, str | None]] = []
    queue = list(arguments)
    while queue:
        word = queue.pop(0)
        if word.startswith("--") and len(word) > 2:
            name, equals, value = word[2:].partition("=")
            given: str | None = value if equals else None
        elif word.startswith("-") and word[1:2] in short:
            name, given = short[word[1]], word[2:].removeprefix("=") or None
        else:
            name, given = "", word
        if given is None and name in takes_value and queue and not _is_option(queue[0]):
            given = queue.pop(0)
        found.append((name, given))
    return found


def _is_option(word: str) -> bool:
    return word.startswith("--") or bool(re.match(r"-[A-Za-z]", word))
