"""The command `discriminate`."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Annotated

import typer

from testbed.cli.console import out, print_json
from testbed.cli.inferring import Draws, Points, ReportsName, Rounds, Seed, opened
from testbed.cli.registry import Command, Panel
from testbed.inference.information import expected
from testbed.tools.inferring.inference_tables import observations_table
from testbed.tools.inferring.study import Effort, infer

_CONSENT = """\
Before anybody tries anything: whoever observes must know the risks below and agree to them; nobody
who is at risk should be asked. What is already public costs nobody anything, so look there first.
This command ranks observations; it does not ask anybody to make one."""
_LEGEND = """\
Yes: how probable it is now that the answer is yes. Bits: what the answer is expected to tell of the
hypothesis named before it. Risk: relative to reading what is public (1); assumed."""


def discriminate(
    name: ReportsName,
    points: Points = Effort.first + Effort.more,
    rounds: Rounds = Effort.rounds,
    draws: Draws = Effort.draws,
    seed: Seed = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not a table.")] = False,
) -> None:
    """Say which observation would tell most of what reports leave open, for what it risks.

    Example: testbed discriminate ru-calls-2025
    """
    found = infer(opened(name, Effort.of(points, rounds, draws, seed)))
    box = Counter(each.box for each in found.model.statements).most_common(1)[0][0]
    ranked = expected(found.posterior, box)
    if as_json:
        print_json([asdict(each) for each in ranked])
        return
    out.print(_CONSENT, style="bold")
    for each in ranked:
        out.print(f"- {each.observation.title} {each.observation.risks}.", markup=False)
        out.print(f"  It could also be that: {each.observation.confounders}.", markup=False)
    out.print(f"\nOf {box}, the best for its risk first:", markup=False)
    out.print(observations_table(ranked))
    out.print(_LEGEND, style="dim")


COMMAND = Command(Panel.COMPARE, discriminate)
