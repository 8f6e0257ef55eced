"""The command `replay-pair`."""

from __future__ import annotations

import os
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from testbed.cli.console import err, out, short
from testbed.cli.kernel import guest_kernel
from testbed.cli.registry import Command, Panel
from testbed.experiment.explanations import ScenarioError
from testbed.experiment.scenario import load_censor
from testbed.tools.fitting.replayed_pairs import replay_flow


def replay_pair(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A capture: pcap or pcapng.")],
    censor: Annotated[
        str, typer.Option(metavar="PROFILE", help="The profile of the middlebox in the guest.")
    ],
    folder: Annotated[Path, typer.Option("--out", help="The folder for the captures.")],
    flow: Annotated[
        int | None, typer.Option(help="The flow's number, as in `recognise`; the largest of UDP.")
    ] = None,
) -> None:
    """Replay a flow inside a guest: as it was, with inverted bytes, and to another port.

    Each replay leaves a capture of both ends, so that one is the other's control for `fit`. No
    packet leaves the guest.

    Example: testbed replay-pair call.pcap --censor ru-calls-2025-08 --out pair
    """
    if folder.exists():
        raise ScenarioError(f"{folder} is there already: give another --out")
    profile, kernel = load_censor(censor), guest_kernel()
    cpu = min(os.sched_getaffinity(0))
    with err.status("replays"):
        found = replay_flow(file, flow, profile, kernel, folder, cpu)
    for each in found:
        out.print(f"{each.variant}: {short(each.inside)} {short(each.outside)}", markup=False)
    first, second = found[0], found[1]
    out.print(
        f"Now: testbed fit {_word(first.inside)} {_word(first.outside)} "
        f"--control {_word(second.inside)} --control {_word(second.outside)}",
        markup=False,
        soft_wrap=True,
    )


def _word(path: Path) -> str:
    """Return a path as one word of a shell's command."""
    return quote(short(path))


COMMAND = Command(Panel.RUN, replay_pair)
