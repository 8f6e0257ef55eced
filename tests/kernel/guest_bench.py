"""A bench on which tests boot guests, one after another, in a folder of their own."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import trio

from testbed.guest.kernel.guest import (
    GuestOptions,
    GuestResult,
    Machine,
    run_guest,
)
from testbed.guest.kernel.job import PROFILE_FILE

WALL_LIMIT_S = 30.0


@dataclass(frozen=True)
class Bench:
    """A machine, a processor, a fresh folder for the job, and the guests that were started."""

    machine: Machine
    cpu: int
    folder: Path
    guests: list[int]

    async def run_async(
        self,
        argv: Sequence[str],
        *,
        seed: int = 1,
        wall_limit_s: float = WALL_LIMIT_S,
        options: GuestOptions = GuestOptions(),  # noqa: B008 - frozen
    ) -> GuestResult:
        return await run_guest(
            self.machine,
            argv,
            self.folder,
            seed=seed,
            cpu=self.cpu,
            wall_limit_s=wall_limit_s,
            options=options,
        )

    def run(
        self,
        *argv: str,
        seed: int = 1,
        wall_limit_s: float = WALL_LIMIT_S,
        options: GuestOptions = GuestOptions(),  # noqa: B008 - frozen
    ) -> GuestResult:
        async def main() -> GuestResult:
            return await self.run_async(argv, seed=seed, wall_limit_s=wall_limit_s, options=options)

        return trio.run(main)

    @property
    def stdout(self) -> str:
        return (self.folder / "stdout").read_text()

    @property
    def profile(self) -> str:
        return (self.folder / PROFILE_FILE).read_text()

    @property
    def stderr(self) -> str:
        return (self.folder / "stderr").read_text()
