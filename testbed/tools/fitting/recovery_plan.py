"""Plans the calls from which the recovery of `fit` is measured: restrictions, lines, and ends.

Each case is a call under a known profile, captured at the callers' own interfaces, and a control:
the same call on the same line without a restriction, with another seed. There are cases for each
profile of the library, for random profiles that go through all actions and directions, and for
lines without any restriction, on which nothing may be found. These are calls of models; calls of
the real engines, and calls through tunnels of which the outside is seen at one end, are fewer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Literal

from testbed.censor.action import Action, action_numbers
from testbed.censor.actions.answer import Answer
from testbed.censor.actions.burst import Burst
from testbed.censor.actions.capacity import Capacity
from testbed.censor.actions.delay import Delay
from testbed.censor.actions.drop import Drop
from testbed.censor.actions.duplicate import Duplicate
from testbed.censor.actions.freeze import Freeze
from testbed.censor.actions.list import List
from testbed.censor.actions.police import Police
from testbed.censor.actions.reorder import Reorder
from testbed.censor.actions.reset import Reset
from testbed.censor.actions.shape import Shape
from testbed.censor.match import Match
from testbed.censor.profile import Profile, Rule
from testbed.evidence import Evidence
from testbed.experiment.cell import Cell, TransportChoice
from testbed.experiment.link import Link, Links
from testbed.experiment.scenario import censor_names, load_censor, load_messenger

Group = Literal["library", "random", "open", "engine", "tunnel"]
RANDOM_CASES, OPEN_CASES = 40, 50
ENGINES = ("telegram", "webrtc", "baresip")
TUNNELS = ("wireguard", "hysteria2", "obfs4")
"""Their packets are numbered in clear, numbered but encrypted, and segments of TCP."""
_MESSENGER = "whatsapp"
_CONTROL_SEED = 10_000
_ACTIONS = (
    "drop",
    "burst",
    "police",
    "shape",
    "delay",
    "reorder",
    "duplicate",
    "freeze",
    "capacity",
    "drop later",
    "reset",
    "answer",
    "list",
)
_DIRECTIONS: Sequence[Literal["up", "down"] | None] = ("up", "down", None)
_EVIDENCE = Evidence("drawn for a recovery", "assumed")


@dataclass(frozen=True)
class Case:
    """A call under a known profile, and its control."""

    name: str
    group: Group
    call: Cell
    control: Cell
    both_ends: bool
    """Whether the captures of both ends are used, or that of the inside one."""

    @property
    def is_open(self) -> bool:
        """Whether there is no restriction, so that nothing may be found."""
        return self.call.censor.name == "open"


def plan(seed: int, duration_s: float) -> list[Case]:
    """Return all cases; with another seed, all random numbers are others."""
    return [
        *_library(seed, duration_s),
        *_random(seed, duration_s),
        *_open(seed, duration_s),
        *_engines(seed, duration_s),
        *_tunnels(seed, duration_s),
    ]


def _library(seed: int, duration_s: float) -> list[Case]:
    cases = []
    for number, name in enumerate(each for each in censor_names() if each != "open"):
        rng = Random(f"library {seed} {name}")
        cases.append(
            _case(name, "library", load_censor(name), rng, seed + number, (duration_s, True))
        )
    return cases


def _random(seed: int, duration_s: float) -> list[Case]:
    cases = []
    for number in range(RANDOM_CASES):
        rng = Random(f"random {seed} {number}")
        name = f"random-{number:02}"
        profile = _profile(name, rng, number)
        # Each action meets each direction, and one end and both.
        both_ends = number // len(_ACTIONS) % 2 == 0 or number % 2 == 0
        cases.append(_case(name, "random", profile, rng, seed + number, (duration_s, both_ends)))
    return cases


def _open(seed: int, duration_s: float) -> list[Case]:
    cases = []
    for number in range(OPEN_CASES):
        rng = Random(f"open {seed} {number}")
        case = (duration_s, number % 2 == 0)
        name = f"open-{number:02}"
        cases.append(_case(name, "open", load_censor("open"), rng, seed + number, case))
    return cases


def _engines(seed: int, duration_s: float) -> list[Case]:
    cases = []
    for number, messenger in enumerate(ENGINES):
        for restriction, both_ends in (("drop", True), ("police", False), ("open", True)):
            name = f"engine-{messenger}-{restriction}"
            rng = Random(f"{name} {seed}")
            profile = load_censor("open")
            if restriction != "open":
                profile = _one_rule(name, Match(direction="down"), _action(restriction, rng))
            case = _case(name, "engine", profile, rng, seed + number, (duration_s, both_ends))
            cases.append(_by(case, messenger=messenger))
    return cases


def _tunnels(seed: int, duration_s: float) -> list[Case]:
    cases = []
    for number, transport in enumerate(TUNNELS):
        for restriction in ("drop", "open"):
            name = f"tunnel-{transport}-{restriction}"
            rng = Random(f"{name} {seed}")
            profile = load_censor("open")
            if restriction != "open":
                # More would break connections of TCP.
                profile = _one_rule(name, Match(), Drop(rng.uniform(0.02, 0.1)))
            # The far end has the call as it leaves the tunnel, so only the near one is used.
            case = _case(name, "tunnel", profile, rng, seed + number, (duration_s, False))
            cases.append(_by(case, transport=transport))
    return cases


def _one_rule(name: str, match: Match, action: Action) -> Profile:
    return Profile(name, "drawn for a recovery", (_rule("drawn", match, action),), name=name)


def _by(case: Case, *, messenger: str = _MESSENGER, transport: str = "direct") -> Case:
    """Return a case with another messenger and transport."""
    chosen = load_messenger(messenger), TransportChoice(transport)
    cells = [
        replace(cell, messenger=chosen[0], transport=chosen[1])
        for cell in (case.call, case.control)
    ]
    return replace(case, call=cells[0], control=cells[1])


def _case(
    name: str,
    group: Group,
    profile: Profile,
    rng: Random,
    seed: int,
    how: tuple[float, bool],
) -> Case:
    duration_s, both_ends = how
    lines = _lines(rng, name)
    messenger = load_messenger(_MESSENGER)
    direct = TransportChoice("direct")
    call = Cell(messenger, direct, profile, lines, seed, duration_s)
    of_control = Cell(
        messenger, direct, load_censor("open"), lines, seed + _CONTROL_SEED, duration_s
    )
    return Case(name, group, call, of_control, both_ends)


def _lines(rng: Random, name: str) -> Links:
    """Return lines with delay, jitter and loss of their own."""
    delay_ms = rng.uniform(3, 60)
    access = Link(delay_ms, min(delay_ms, rng.choice((0.0, 2.0, 5.0))), _loss(rng), 20)
    far_ms = rng.uniform(3, 40)
    return Links(
        "drawn for a recovery",
        access=access,
        domestic=Link(3.0),
        backbone=Link(rng.uniform(5, 40), 1.0),
        hosting=Link(1.0),
        callee_access=Link(far_ms, min(far_ms, rng.choice((0.0, 2.0))), _loss(rng), 50),
        name=name,
    )


def _loss(rng: Random) -> float:
    return rng.choice((0.0, 0.001, 0.003, 0.005))


def _profile(name: str, rng: Random, number: int) -> Profile:
    kind = _ACTIONS[number % len(_ACTIONS)]
    direction = _DIRECTIONS[(number // len(_ACTIONS) + number) % len(_DIRECTIONS)]
    protocol: Literal["udp", "tcp"] = "tcp" if kind == "reset" else "udp"
    match = Match(protocol=protocol, direction=direction)
    from_s = rng.uniform(8, 20) if kind == "drop later" else None
    rules = [_rule("drawn", match, _action(kind, rng), from_s)]
    if kind == "list":
        listed = Match(protocol=protocol, listed="drawn-list", direction=direction)
        drop = _rule("listed", listed, Drop(rng.uniform(0.1, 0.5)))
        rules = [drop, *rules]
    return Profile(name, "drawn for a recovery", tuple(rules), name=name)


def _rule(name: str, match: Match, action: Action, from_s: float | None = None) -> Rule:
    numbers = [*action_numbers(action), *([] if from_s is None else ["from_s"])]
    evidence = dict.fromkeys(["match", "action", *numbers], _EVIDENCE)
    return Rule(name, match, action, evidence, from_s)


def _action(kind: str, rng: Random) -> Action:
    """Return an action with random numbers, in ranges in which a call mostly shows them."""
    made: dict[str, Action] = {
        "drop": Drop(rng.uniform(0.05, 0.6)),
        "drop later": Drop(rng.uniform(0.1, 0.6)),
        "capacity": Capacity(rng.uniform(30, 95)),
        "burst": Burst(rng.uniform(0.05, 0.4), rng.uniform(2, 8)),
        "police": Police(rng.uniform(15_000, 40_000), rng.uniform(1_000, 12_000)),
        "shape": Shape(rng.uniform(20_000, 44_000), rng.uniform(1_500, 12_000)),
        "delay": _delay(rng),
        "reorder": Reorder(rng.uniform(0.03, 0.3), rng.uniform(30, 250)),
        "duplicate": Duplicate(rng.uniform(0.03, 0.6)),
        "freeze": Freeze(after_packets=rng.randint(30, 800)),
        "reset": Reset(),
        "answer": Answer(rng.choice(("host-unreachable", "prohibited"))),
        "list": List("drawn-list", "server", delay_median_s=4.0, delay_p95_s=9.0,
                             delay_max_s=20.0),
    }  # fmt: skip
    return made[kind]


def _delay(rng: Random) -> Action:
    delay_ms = rng.uniform(10, 250)
    return Delay(delay_ms, rng.choice((0.0, min(delay_ms, rng.uniform(4, 9)))))
