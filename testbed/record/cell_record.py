"""What came of one cell, judged: the content of `cell.json`, typed from end to end.

A guest leaves an `Observation`; `testbed.record.judging` makes a `CellRecord` of it, and everything
that people look at is made from that. `to_json` and `from_json` are each other's inverse.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from testbed.call.conversation import Turn
from testbed.call.quality.measures import Measures
from testbed.call.quality.symptoms import Silence
from testbed.call.quality.verdict import CallQuality, DirectionQuality, Figures, Verdict
from testbed.record.observation import Observation

T = TypeVar("T")
SCHEMA: Final = 1
"""The version of `cell.json` and `run.json`."""
DIRECT = "direct"
"""The transport that is none, with which others are compared."""
OPEN = "open"
"""The censor profile that restricts nothing."""
DIRECTIONS = ("up", "down")
"""What the caller says and the callee hears, and the other way round."""


class CallKey(NamedTuple):
    """What calls are compared by; those with the same key differ in their seed alone."""

    messenger: str
    """The messenger's title."""
    transport: str
    censor: str
    """Where a run compares links, the name ends with ` over LINKS`; where it compares topologies,
    with the topology's."""

    @property
    def is_direct(self) -> bool:
        """Whether no transport is in between."""
        return self.transport == DIRECT

    @property
    def direct(self) -> CallKey:
        """The key of the direct calls with which these are compared."""
        return self._replace(transport=DIRECT)


@dataclass(frozen=True, slots=True)
class Conversation:
    """Who spoke when, and how long each end waited for answers."""

    said: Literal["speech", "symbols"]
    pause_s: float
    """Between one's last word and the other's first."""
    turns: tuple[Turn, ...]
    response_s: Mapping[str, float | None]
    """By end: the median wait for an answer (s); None: there was none."""


@dataclass(frozen=True, slots=True)
class ChatSummary:
    """The messages beside the call."""

    sent: int
    delivered: int
    median_s: float | None
    """The time to the server's echo; None: nothing came back."""
    longest_s: float | None


@dataclass(frozen=True, slots=True)
class TrafficSummary:
    """One piece of other traffic."""

    done: bool
    """Whether it was done before the call ended."""
    took_s: float | None
    goodput_bps: float | None
    """Of what was exchanged, over all of that time."""


@dataclass(frozen=True, slots=True)
class PlayoutFigures:
    """What our own playout makes of one direction; a real engine's may have decided otherwise."""

    figures: Figures
    output_concealed_share: float
    """Of all that was played, also while nobody spoke."""
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class CellRecord:
    """What came of one cell."""

    messenger: str
    """The messenger's name."""
    messenger_title: str
    transport: str
    censor: str
    links: str
    """The link set's name, where a run compares several; or empty."""
    topology: str
    """The topology's name, where a run compares several; or empty."""
    seed: int
    duration_s: float
    quality: CallQuality
    measures: Mapping[str, Measures]
    """By direction; none if no call was set up."""
    by_playout: Mapping[str, PlayoutFigures]
    """By direction: what our playout makes of the frames that arrived, whoever decided."""
    silences: Mapping[str, tuple[Silence, ...]]
    """By direction: each time when nothing was heard for long."""
    conversation: Conversation
    chat: ChatSummary
    traffic: Mapping[str, TrafficSummary]
    """By kind."""
    observation: Observation
    symbols_missed: Mapping[str, float] = field(default_factory=dict)
    """By direction, if symbols were said: the share that was not heard."""
    schema: Literal[1] = SCHEMA

    @property
    def key(self) -> CallKey:
        """What this call is compared by."""
        over = f" over {self.links}" if self.links else ""
        topology = f" {self.topology}" if self.topology else ""
        return CallKey(self.messenger_title, self.transport, self.censor + over + topology)

    @property
    def verdict(self) -> Verdict:
        """The call's verdict."""
        return self.quality.verdict

    @property
    def is_set_up(self) -> bool:
        """Whether both ends were connected, so that there is a quality of both directions."""
        return self.quality.up is not None

    @property
    def set_up_s(self) -> float | None:
        """How long the set-up took; None: the call was never set up."""
        return self.quality.set_up.elapsed_s if self.is_set_up else None

    @property
    def directions(self) -> dict[str, DirectionQuality]:
        """The quality of each direction that was recorded, the worse one first."""
        found = {"up": self.quality.up, "down": self.quality.down}
        recorded = {name: quality for name, quality in found.items() if quality is not None}
        return dict(sorted(recorded.items(), key=lambda named: named[1].rank))

    @property
    def worse_direction(self) -> str | None:
        """The direction that counts; None: there was no call."""
        return next(iter(self.directions), None)

    @property
    def worse(self) -> DirectionQuality | None:
        """The quality of the direction that counts; None: there was no call."""
        return next(iter(self.directions.values()), None)

    @property
    def response_s(self) -> float | None:
        """How long the end that waits longer waits for an answer (s); None: there was none."""
        waits = self.conversation.response_s.values()
        return max((wait for wait in waits if wait is not None), default=None)

    def to_json(self) -> str:
        """Write the record as JSON; equal records give equal texts."""
        return _RECORDS.dump_json(self, indent=1).decode() + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> CellRecord:
        """Read what `to_json` wrote.

        Raises:
            ValueError: It is something else; the message names the first wrong key.
        """
        return parsed(_RECORDS, text)


def read_observation(text: str | bytes) -> Observation:
    """Read what a guest's `write_observation` wrote.

    Raises:
        ValueError: It is something else; the message names the first wrong key.
    """
    return parsed(_OBSERVATIONS, text)


def parsed(kind: TypeAdapter[T], text: str | bytes) -> T:
    """Read JSON, in which every number is finite, as a type.

    Raises:
        ValueError: It is something else; the message names the first wrong key.
    """
    try:
        return kind.validate_python(from_json(text, allow_inf_nan=False))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ValueError(f"{where}: {first['msg']}") from None


_RECORDS = TypeAdapter(CellRecord)
_OBSERVATIONS = TypeAdapter(Observation)
