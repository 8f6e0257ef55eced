"""BibTeX of the sources that profiles, messengers and link sets name; it invents nothing."""

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
    """One thing that is cited: its words, and who relies on it how surely."""

    words: str
    """As the files cite it, without what was taken from it."""
    used_by: dict[str, None] = field(default_factory=dict)
    """Which file, and its confidence; in order, each once."""


def sources(evidence: Mapping[str, Iterable[Evidence]]) -> list[Source]:
    """Gather what files cite, by file's name; what is assumed has no source.

    A source's words end at the first colon and space, after which stands what it says; several are
    separated by semicolons.
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
    """Write sources as BibTeX, each under a key of its own that is the same every time."""
    keys: dict[str, int] = {}
    entries = []
    for source in found:
        key = _key(source.words)
        keys[key] = keys.get(key, 0) + 1
        entries.append(_entry(f"{key}-{keys[key]}" if keys[key] > 1 else key, source))
    return "\n".join(entries)


def _entry(key: str, source: Source) -> str:
    words = source.words
    fields = {"title": f"{{{escaped(words)}}}"}
    if author := _AUTHOR.search(words):
        fields["author"] = f"{author[1]} and others"
    if doi := _DOI.search(words):
        fields["doi"] = doi[0]
    elif issue := _ISSUE.search(words):
        fields["url"] = f"https://github.com/{issue[1]}/issues/{issue[2]}"
    elif page := _PAGE.search(words):
        fields["url"] = f"https://{page[0]}"
    if year := _YEAR.search(_DOI.sub("", words)):
        fields["year"] = year[1]
    fields["note"] = escaped("Cited by " + ", ".join(source.used_by))
    lines = (f"  {name} = {{{text}}}," for name, text in fields.items())
    return "\n".join((f"@misc{{{key},", *lines, "}", ""))


def _key(words: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")[:48].rstrip("-")
