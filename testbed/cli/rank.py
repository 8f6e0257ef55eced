"""The command `rank`."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from datetime import date
from typing import Annotated

import typer
from rich.table import Table

from testbed.analysis.statistics import Estimate
from testbed.cli.console import out, print_json
from testbed.cli.inferring import Draws, Points, ReportsName, Rounds, Seed, opened
from testbed.cli.registry import Command, Panel
from testbed.experiment.choosing import transport_choice, transport_names
from testbed.experiment.explanations import ScenarioError, there_are
from testbed.experiment.hypotheses import load_family
from testbed.experiment.reports import load_reports
from testbed.experiment.transport_facts import transport_facts
from testbed.show.answer import wording
from testbed.show.answer.standing import is_stale, stale_warning
from testbed.show.answer.wording import ranking
from testbed.tools.inferring.ranking import OtherThresholds, Ranked, censors_left, rank
from testbed.tools.inferring.study import Effort, Inference, infer

_USUAL = ("direct", "obfs4", "vless_ws_tls", "shadowsocks2022", "hysteria2", "wireguard")
_LEGEND = """\
Usable: the share of calls that are usable or good, over the censors that the reports leave over and
over seeds, with 95 % intervals. To the best: in pairs of the same censor and seed. Transports of
rank 1 cannot be told from the best one. Not tried: what a transport looks like to a classifier that
no report is about, and blocked servers."""


def rank_transports(
    name: ReportsName,
    transport: Annotated[
        list[str] | None,
        typer.Option(help="Rank this transport (repeatable).", autocompletion=transport_names),
    ] = None,
    messenger: Annotated[str, typer.Option(help="A messenger of the hypotheses.")] = "whatsapp",
    censors: Annotated[int, typer.Option(min=6, help="How many censors are tried.")] = 24,
    points: Points = Effort.first + Effort.more,
    rounds: Rounds = Effort.rounds,
    draws: Draws = Effort.draws,
    seed: Seed = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not a table.")] = False,
) -> None:
    """Rank transports by usable calls under all censors that are consistent with reports.

    Example: testbed rank ru-calls-2025 --transport direct --transport obfs4
    """
    chosen = list(dict.fromkeys(transport or _USUAL))
    _check(name, chosen, messenger)
    found = infer(opened(name, Effort.of(points, rounds, draws, seed)))
    box = Counter(each.box for each in found.model.statements).most_common(1)[0][0]
    ranked, others = rank(found.study, messenger, chosen, censors_left(found, box, censors))
    if as_json:
        print_json(
            {
                "ranked": [asdict(each) for each in ranked],
                "by other thresholds": [asdict(each) for each in others],
            }
        )
        return
    out.print(_table(ranked))
    out.print(_LEGEND, style="dim")
    for line in (*_by_others(ranked, others), "", *_answer(ranked, found, box, censors)):
        out.print(line, markup=False)


def _check(name: str, transports: list[str], messenger: str) -> None:
    """Check what is to be ranked, before any call is made for it.

    Raises:
        ScenarioError: There is no such transport, or no such messenger of the hypotheses.
    """
    for each in transports:
        transport_choice(each)
    known = load_family(load_reports(name).hypotheses).messengers
    if messenger not in known:
        hint = there_are(messenger, known)
        raise ScenarioError(f"--messenger: no messenger {messenger!r} of the hypotheses; {hint}")


def _by_others(ranked: list[Ranked], others: list[OtherThresholds]) -> list[str]:
    """Return whether the first ones stay the first if our own thresholds are halved or doubled."""
    first = {each.transport for each in ranked if each.rank == 1}
    lines = []
    for each in others:
        gone, come = sorted(first - set(each.first)), sorted(set(each.first) - first)
        moved = [f"without {', '.join(gone)}"] * bool(gone) + [f"with {', '.join(come)}"] * bool(
            come
        )
        lines.append(f"First with {each.name}: {'; '.join(moved) or 'the same'}.")
    return lines


def _answer(ranked: list[Ranked], found: Inference, box: str, censors: int) -> list[str]:
    """Return the answer in words, with what it rests on."""
    reports, today = found.study.reports, date.today()
    stale = is_stale(reviewed := reports.reviewed, today)
    return ranking(
        [wording.Ranked(each.transport, each.usable, each.rank == 1) for each in ranked],
        transport_facts(),
        scope=f"{censors} censors that fit the {len(reports.reports)} reports of {reports.name} "
        f"({box}; sources up to {reviewed})",
        warning=stale_warning(reports.name, reviewed) if stale else "",
        unknown=[
            "what transports look like to a classifier that no report is about.",
            "whether servers are blocked by their addresses.",
        ],
    )


def _table(ranked: list[Ranked]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("Rank", "Transport"):
        table.add_column(name)
    for name in ("Calls", "Usable", "To the best"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("Fails under (of the failing, of all)")
    for each in ranked:
        fails = ", ".join(f"{k} ({a}, {b})" for k, (a, b) in each.fails_under.items())
        table.add_row(
            str(each.rank), each.transport, str(each.usable.n), _estimate(each.usable),
            "-" if each.to_best is None else _estimate(each.to_best), fails,
        )  # fmt: skip
    return table


def _estimate(found: Estimate) -> str:
    return f"{100 * found.value:.0f} % [{100 * found.low:.0f}, {100 * found.high:.0f}]"


COMMAND = Command(Panel.COMPARE, rank_transports)
