"""The judged result of one cell: the content of `cell.json`, typed from end to end.

A guest leaves an `Observation`; `testbed.record.judging` turns it into a `CellRecord`, from which
all tables, figures and pages are made. `to_json` and `from_json` are inverses of each other.
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
"""The baseline transport, which sends datagrams unchanged; others are compared with it."""
OPEN = "open"
"""The censor profile that restricts nothing."""
DIRECTIONS = ("up", "down")
"""Up: from the caller to the callee. Down: from the callee to the caller."""


class CallKey(NamedTuple):
    """The key by which calls are grouped; calls with the same key differ only in their seed."""

    messenger: str
    """The messenger's title."""
    transport: str
    censor: str
    """The censor's name. If a run compares link sets, it ends with ` over LINKS`; if a run compares
    topologies, it ends with the topology's name."""

    @property
    def is_direct(self) -> bool:
        """Whether the call uses no transport."""
        return self.transport == DIRECT

    @property
    def direct(self) -> CallKey:
        """The key of the direct calls with which these calls are compared."""
        return self._replace(transport=DIRECT)


@dataclass(frozen=True, slots=True)
class Conversation:
    """How the turns of the conversation went, and how long each end waited for answers."""

    said: Literal["speech", "symbols"]
    pause_s: float
    """From the last word of one speaker to the first word of the other (s)."""
    turns: tuple[Turn, ...]
    response_s: Mapping[str, float | None]
    """By end: the median wait for an answer (s); None if there was no answer."""


@dataclass(frozen=True, slots=True)
class ChatSummary:
    """The chat messages that were sent during the call."""

    sent: int
    delivered: int
    median_s: float | None
    """The median time until the server's echo returned (s); None if nothing came back."""
    longest_s: float | None


@dataclass(frozen=True, slots=True)
class TrafficSummary:
    """One transfer of other traffic, such as a web page."""

    done: bool
    """Whether the transfer finished before the call ended."""
    took_s: float | None
    goodput_bps: float | None
    """The payload exchanged, divided by the whole duration of the transfer."""


@dataclass(frozen=True, slots=True)
class PlayoutFigures:
    """Figures of our own playout for one direction; a real engine's playout may differ."""

    figures: Figures
    output_concealed_share: float
    """The share of the whole output, including pauses, that was concealed."""
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class CellRecord:
    """The result of one cell."""

    messenger: str
    """The messenger's name."""
    messenger_title: str
    transport: str
    censor: str
    links: str
    """The name of the link set; empty unless the run compares several."""
    topology: str
    """The name of the topology; empty unless the run compares several."""
    seed: int
    duration_s: float
    quality: CallQuality
    measures: Mapping[str, Measures]
    """By direction; empty if no call was set up."""
    by_playout: Mapping[str, PlayoutFigures]
    """By direction: the figures of our playout for the frames that arrived, even if the verdict
    rests on what a real engine played."""
    silences: Mapping[str, tuple[Silence, ...]]
    """By direction: each long interval in which nothing was heard."""
    conversation: Conversation
    chat: ChatSummary
    traffic: Mapping[str, TrafficSummary]
    """By kind of traffic."""
    observation: Observation
    symbols_missed: Mapping[str, float] = field(default_factory=dict)
    """By direction, if the call carried spoken symbols: the share that was not heard."""
    schema: Literal[1] = SCHEMA

    @property
    def key(self) -> CallKey:
        """The key by which this call is grouped with others."""
        over = f" over {self.links}" if self.links else ""
        topology = f" {self.topology}" if self.topology else ""
        return CallKey(self.messenger_title, self.transport, self.censor + over + topology)

    @property
    def verdict(self) -> Verdict:
        """The call's verdict."""
        return self.quality.verdict

    @property
    def is_set_up(self) -> bool:
        """Whether both ends were connected, so that the quality of both directions is known."""
        return self.quality.up is not None

    @property
    def set_up_s(self) -> float | None:
        """How long the set-up took (s); None if the call was never set up."""
        return self.quality.set_up.elapsed_s if self.is_set_up else None

    @property
    def directions(self) -> dict[str, DirectionQuality]:
        """The quality of each direction that was recorded, the worse one first."""
        found = {"up": self.quality.up, "down": self.quality.down}
        recorded = {name: quality for name, quality in found.items() if quality is not None}
        return dict(sorted(recorded.items(), key=lambda named: named[1].rank))

    @property
    def worse_direction(self) -> str | None:
        """The direction with the worse quality; None if there was no call."""
        return next(iter(self.directions), None)

    @property
    def worse(self) -> DirectionQuality | None:
        """The quality of the worse direction; None if there was no call."""
        return next(iter(self.directions.values()), None)

    @property
    def response_s(self) -> float | None:
        """The longer of the two ends' median waits for an answer (s); None if there was none."""
        waits = self.conversation.response_s.values()
        return max((wait for wait in waits if wait is not None), default=None)

    def to_json(self) -> str:
        """Return the record as JSON; equal records yield equal texts."""
        return _RECORDS.dump_json(self, indent=1).decode() + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> CellRecord:
        """Parse a record that `to_json` wrote.

        Raises:
            ValueError: The text is not such a record; the message names the first wrong key.
        """
        return parsed(_RECORDS, text)


def read_observation(text: str | bytes) -> Observation:
    """Parse an observation that a guest wrote with `write_observation`.

    Raises:
        ValueError: The text is not an observation; the message names the first wrong key.
    """
    return parsed(_OBSERVATIONS, text)


def parsed(kind: TypeAdapter[T], text: str | bytes) -> T:
    """Parse JSON, whose numbers must all be finite, as a value of the given type.

    Raises:
        ValueError: The text does not fit the type; the message names the first wrong key.
    """
    try:
        return kind.validate_python(from_json(text, allow_inf_nan=False))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ValueError(f"{where}: {first['msg']}") from None


_RECORDS = TypeAdapter(CellRecord)
_OBSERVATIONS = TypeAdapter(Observation)
