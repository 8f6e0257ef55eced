"""Write the sources that profiles, messengers and link sets cite as BibTeX.

A source is free text. Its title is the text itself; author, DOI, URL and year are filled in only if
patterns find them there, so no field is invented.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from testbed.evidence import Evidence
from testbed.show.papers import escaped

_DOI = re.compile(r"\b10\.\d{4,9}/[^\s;,)]+")
_ISSUE = re.compile(r"\b([\w.-]+/[\w.-]+) (\d+)\b")
_PAGE = re.compile(r"\b(?:[a-z0-9-]+\.)+(?:org|com|net|io|report)/[^\s;,)]+")
_YEAR = re.compile(r"\b((?:19|20)\d\d)\b")
_AUTHOR = re.compile(r"^([A-Z][\w-]+) et al\.")


@dataclass
class Source:
    """A cited source: its text, and the files that rely on it."""

    words: str
    """The citation as in the files, without the statement taken from the source."""
    used_by: dict[str, None] = field(default_factory=dict)
    """The files and their confidence, in order and without duplicates."""


def sources(evidence: Mapping[str, Iterable[Evidence]]) -> list[Source]:
    """Collect the sources that files cite; `evidence` is by the file's name.

    Values that are assumed, or measured by this project, cite nothing. A citation ends at the first
    colon and space, after which follows what the source says; semicolons separate several.
    """
    found: dict[str, Source] = {}
    for name, items in evidence.items():
        for item in items:
            if item.confidence in ("assumed", "measured"):
                continue
            for words in item.source.partition(": ")[0].split("; "):
                source = found.setdefault(words, Source(words))
                source.used_by[f"{name} ({item.confidence})"] = None
    return list(found.values())


def bibtex(found: Iterable[Source]) -> str:
    """Return sources as BibTeX, each under a unique key that depends only on the sources."""
    keys: dict[str, int] = {}
    entries = []
    for source in found:
        key = _key(source.words)
        keys[key] = keys.get(key, 0) + 1
        entries.append(_entry(f"{key}-{keys[key]}" if keys[key] > 1 else key, source))
    return "\n".join(entries)


def address(words: str) -> str:
    """Return the address that a citation contains; empty if it has none."""
    if doi := _DOI.search(words):
        return f"https://doi.org/{doi[0]}"
    if issue := _ISSUE.search(words):
        return f"https://github.com/{issue[1]}/issues/{issue[2]}"
    page = _PAGE.search(words)
    return f"https://{page[0]}" if page else ""


def _entry(key: str, source: Source) -> str:
    words = source.words
    fields = {"title": f"{{{escaped(words)}}}"}
    if author := _AUTHOR.search(words):
        fields["author"] = f"{author[1]} and others"
    if doi := _DOI.search(words):
        fields["doi"] = doi[0]
    elif url := address(words):
        fields["url"] = url
    if year := _YEAR.search(_DOI.sub("", words)):
        fields["year"] = year[1]
    fields["note"] = escaped("Cited by " + ", ".join(source.used_by))
    lines = (f"  {name} = {{{text}}}," for name, text in fields.items())
    return "\n".join((f"@misc{{{key},", *lines, "}", ""))


def _key(words: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")[:48].rstrip("-")
