"""Define reports: what people said about calls at a time and a place, as data with a source.

A report is a statement that a call in the lab can meet or not: "most of Telegram's calls were not
set up, or unusable". Its setting says which messenger and transport were used; a report whose
setting the lab cannot build says why, is kept, and counts as not reproduced. Reports never name
people, so that one can be removed without leaving a trace.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from math import comb
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from testbed.call.quality.symptoms import Symptom
from testbed.call.quality.verdict import Verdict
from testbed.evidence import check_reviewed
from testbed.experiment.cell import Topology
from testbed.experiment.explanations import ScenarioError, there_are
from testbed.experiment.scenario import SCENARIOS
from testbed.experiment.toml_files import read_toml, validated

_FORBID_UNKNOWN_KEYS = {"extra": "forbid"}
REPORTS = SCENARIOS / "reports"
TRIES = 5
"""How many calls a report is taken to be about, if it is about several."""
MOST = 3
"""In how many of them something happened that happened in most: at least 60 %."""
DELIVERED = 0.9
"""The least share of messages that arrive in a chat that works."""
Calls = Literal["one", "most", "all"]
VerdictLabel = Literal["no call", "unusable", "poor", "usable", "good"]
_DATE = re.compile(r"\d{4}-\d\d(-\d\d)?")


@dataclass(frozen=True)
class Setting:
    """How a call was made; the messenger stands for all that is assumed of it."""

    messenger: str
    """A messenger of the family of hypotheses (`testbed.experiment.hypotheses`)."""
    transport: str = "direct"
    topology: Topology = "one-sided"

    def __str__(self) -> str:
        ends = "" if self.topology == "one-sided" else ", both ends inside"
        through = "" if self.transport == "direct" else f" by {self.transport}"
        return f"{self.messenger}{through}{ends}"


@dataclass(frozen=True)
class Observed:
    """What was observed of a call; everything that is given must hold."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    verdicts: tuple[VerdictLabel, ...] = ()
    """One of these is the call's verdict."""
    symptoms: tuple[str, ...] = ()
    """All of these are among its symptoms, such as `metallic`."""
    connects: bool | None = None
    """Whether it was set up."""
    chat: bool | None = None
    """Whether the chat during it works: at least 90 % of its messages arrive."""

    def __post_init__(self) -> None:
        if not (self.verdicts or self.symptoms) and self.connects is self.chat is None:
            raise ValueError("give at least one of verdicts, symptoms, connects and chat")
        known = [each.value for each in Symptom]
        if unknown := [each for each in self.symptoms if each not in known]:
            raise ValueError(f"symptoms: no symptom {unknown[0]!r}; {there_are(unknown[0], known)}")

    def holds(self, outcome: Outcome) -> bool:
        """Return whether a call was as observed."""
        return (
            (not self.verdicts or outcome.verdict.label in self.verdicts)
            and set(self.symptoms) <= set(outcome.symptoms)
            and self.connects in (None, outcome.connects)
            and self.chat in (None, outcome.chat)
        )

    @property
    def works(self) -> bool | None:
        """Whether the call was usable; None if that is not all that was observed."""
        if not self.verdicts or self.symptoms or self.chat is not None:
            return None
        usable = {each >= Verdict.USABLE for each in Verdict if each.label in self.verdicts}
        return usable.pop() if len(usable) == 1 else None


@dataclass(frozen=True)
class Outcome:
    """What a call in the lab came to, as far as reports ask for it."""

    verdict: Verdict
    symptoms: tuple[str, ...]
    """Without the times that the record's symptoms have."""
    connects: bool
    chat: bool


@dataclass(frozen=True)
class Report:
    """One report."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    name: str
    said: str
    """What was said, in our words."""
    observed: Observed
    when: str
    """The month or the day, such as `2025-08` or `2025-08-14`."""
    source: str
    """The thread, issue or article."""
    source_class: str
    """How reliable the source is: a key of the family's `misreports`."""
    messenger: str = ""
    transport: str = "direct"
    topology: Topology = "one-sided"
    calls: Calls = "most"
    """Whether it is about one call, most calls (at least 3 of 5), or all of 5."""
    line: Literal["fixed", "mobile", "unknown"] = "unknown"
    operator: str = "unknown"
    """A class of operators, such as `large`; never one that identifies a person."""
    region: str = "unknown"
    hosting: str = "unknown"
    """Where the other end of a tunnel was."""
    not_in_lab: str = ""
    """Why the lab cannot express it; empty: it can."""

    def __post_init__(self) -> None:
        if not _DATE.fullmatch(self.when):
            raise ValueError(f"when: {self.when!r} is no month such as 2025-08, and no day")
        try:
            date.fromisoformat(self.when if len(self.when) > 7 else f"{self.when}-01")
        except ValueError:
            raise ValueError(f"when: there is no {self.when}") from None
        if any("@" in text for text in (self.said, self.source)):
            raise ValueError("said, source: leave out names and handles of people (@)")
        if not self.messenger and not self.not_in_lab:
            raise ValueError("messenger: missing; or say in not_in_lab why the lab cannot try it")

    @property
    def setting(self) -> Setting | None:
        """How its call is made in the lab; None if the lab cannot."""
        if self.not_in_lab:
            return None
        return Setting(self.messenger, self.transport, self.topology)

    @property
    def day(self) -> str:
        """Its day; of a month, the first."""
        return self.when if len(self.when) > 7 else f"{self.when}-01"


@dataclass(frozen=True)
class Reports:
    """Reports from which a censor is inferred (`scenarios/reports/`)."""

    __pydantic_config__ = _FORBID_UNKNOWN_KEYS

    title: str
    question: str
    hypotheses: str
    """The family of hypotheses, by its name in `scenarios/hypotheses/`."""
    reports: Annotated[tuple[Report, ...], Field(min_length=1)]
    assumed_profile: str = ""
    """A censor profile that was assumed before, to compare with."""
    reviewed: str = field(default="", kw_only=True)
    """When it was last checked against its sources, such as `2026-11-30`."""
    name: str = field(default="", kw_only=True)
    """The file's name."""

    def __post_init__(self) -> None:
        check_reviewed(self.reviewed)
        names = [report.name for report in self.reports]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"reports: {twice[0]!r} is there twice; name one otherwise")


def chance(calls: Calls, share: float) -> float:
    """Return the probability that a statement about several calls is true.

    `share` is the probability that it is true of one of them.
    """
    if calls == "one":
        return share
    if calls == "all":
        return float(share**TRIES)
    at_least = range(MOST, TRIES + 1)
    return float(sum(comb(TRIES, k) * share**k * (1 - share) ** (TRIES - k) for k in at_least))


def reports_path(name_or_path: str) -> Path:
    """Return the path of a file of reports, given as such or by its name."""
    path = Path(name_or_path)
    return path if path.suffix == ".toml" else REPORTS / f"{name_or_path}.toml"


def report_names() -> list[str]:
    """Return the names of the sets of reports that come with the project."""
    return sorted(path.stem for path in REPORTS.glob("*.toml") if path.name[0] not in "._")


def load_reports(name_or_path: str) -> Reports:
    """Read reports by their name in `scenarios/reports/` or by the path of their file.

    Raises:
        ScenarioError: There is no such file, or it is wrong.
    """
    path = reports_path(name_or_path)
    return validated(path, read_named(path, "reports", report_names()), Reports)


def read_named(path: Path, what: str, known: Sequence[str]) -> dict[str, object]:
    """Return the content of a file that is chosen by its name.

    Raises:
        ScenarioError: There is no such file, or it is no TOML.
    """
    try:
        return read_toml(path)
    except FileNotFoundError:
        hint = there_are(path.stem, known)
        raise ScenarioError(f"no {what} {path.stem!r}: {path} is missing; {hint}") from None
