"""Renders what was recognised in a capture: as a sentence, a table, or JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table

from testbed.censor.event import acts
from testbed.tools.recognition.replay import CALL_LABELS, SeenFlow

_STUN = {"stun", "stun-strict"}


def answer(flows: Sequence[SeenFlow], censor: str | None) -> str:
    """Return the most important result as a sentence."""
    total = f"{len(flows)} {'flow' if len(flows) == 1 else 'flows'}"
    calls = [flow for flow in flows if flow.labels & CALL_LABELS]
    stun = [flow for flow in flows if flow.labels & _STUN and flow not in calls]
    unknown = [flow for flow in flows if not flow.labels - {"unknown"}]
    if censor is None:
        return (
            f"{len(calls)} of {total} would be recognised as calls, and {len(stun)} more by STUN "
            f"alone. In {len(unknown)}, nothing would be recognised."
        )
    met = [flow for flow in flows if any(acts(rule.action) for rule in flow.rules)]
    return (
        f"A rule of {censor} that does more than let pass would apply to {len(met)} of {total}. "
        f"Something that {censor} looks for was recognised in {len(flows) - len(unknown)}."
    )


def flows_table(flows: Sequence[SeenFlow], *, with_rules: bool) -> Table:
    """Return a table of flows for a terminal of 100 columns."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Flow", justify="right")
    table.add_column("client > server", overflow="fold", min_width=22)
    table.add_column("Packets\nup/down", justify="right")
    table.add_column("recognised as", overflow="fold", min_width=18)
    table.add_column("at packet", justify="right")
    table.add_column("after s", justify="right")
    if with_rules:
        table.add_column("rule that applies", overflow="fold", min_width=20)
    for flow in flows:
        up, down = flow.packets.values()
        # One line per fact, so that its packet and time stand next to it.
        facts = [
            (f"{fact.name} = {fact.value}" if fact.value else fact.name, fact.when)
            for fact in flow.facts
        ]
        rows = [(name, str(at.packet), f"{at.after_s:.3f}") for name, at in facts] or [("-",) * 3]
        rules = "\n".join(f"{rule.direction}: {rule.rule}: {rule.action}" for rule in flow.rules)
        begin = (f"{flow.number}", _ends(flow), f"{up}/{down}")
        for row_number, row in enumerate(rows):
            first = row_number == 0
            last = ((rules or "-") if first else "",) if with_rules else ()
            table.add_row(*(begin if first else ("",) * 3), *row, *last)
    return table


def _ends(flow: SeenFlow) -> str:
    return f"{flow.protocol} {flow.client}\n> {flow.server}"


@dataclass(frozen=True)
class FactRow:
    """A fact that was recognised."""

    fact: str
    value: str | None
    packet: int
    """The frame's number in the file, from 1."""
    after_s: float


@dataclass(frozen=True)
class RuleRow:
    """A rule that applies in a direction, and from which packet on."""

    direction: str
    rule: str
    action: str
    packet: int
    after_s: float


@dataclass(frozen=True)
class FlowRow:
    """A flow in the form that is printed as JSON."""

    id: int
    protocol: str
    client: str
    server: str
    opened: str
    """Who opened the flow: `inside` or `outside`."""
    first_packet: int
    first_s: float
    packets: Mapping[str, int]
    """The number of packets by direction."""
    payload_bytes: Mapping[str, int]
    recognised: Sequence[FactRow]
    rules: Sequence[RuleRow]


def flow_row(flow: SeenFlow) -> FlowRow:
    """Return a flow in the form that is printed as JSON."""
    return FlowRow(
        id=flow.number,
        protocol=flow.protocol,
        client=str(flow.client),
        server=str(flow.server),
        opened="inside" if flow.opened.value == "up" else "outside",
        first_packet=flow.began.packet,
        first_s=flow.began.after_s,
        packets={way.value: count for way, count in flow.packets.items()},
        payload_bytes={way.value: count for way, count in flow.payload_bytes.items()},
        recognised=[
            FactRow(fact.name, fact.value or None, fact.when.packet, fact.when.after_s)
            for fact in flow.facts
        ],
        rules=[
            RuleRow(rule.direction, rule.rule, rule.action, rule.when.packet, rule.when.after_s)
            for rule in flow.rules
        ],
    )
