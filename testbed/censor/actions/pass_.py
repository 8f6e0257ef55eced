"""The action `pass`: let packets pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import ClassVar, Literal

from testbed.censor.action import FORBID_UNKNOWN_KEYS, Action


@dataclass(frozen=True)
class Pass(Action):
    """Let packets pass."""

    __pydantic_config__ = FORBID_UNKNOWN_KEYS
    acts: ClassVar[bool] = False
    kind: Literal["pass"] = "pass"

    def effect(self, rng: Random, enlist: Callable[[float], None]) -> None:
        """Return None."""


ACTION = Pass
