"""Writes findings as a censor profile.

A profile decides once for each direction of a flow, so of several findings about one direction the
weightiest becomes a rule; the others are named in the description. Numbers have the confidence
`measured`, with the capture's hash as their source; what had to be chosen is `assumed`, with the
reason. No address is written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Literal

from testbed.analysis.statistics import Estimate
from testbed.censor.action import Action, action_numbers
from testbed.censor.actions.answer import Answer
from testbed.censor.actions.burst import Burst
from testbed.censor.actions.delay import Delay
from testbed.censor.actions.drop import Drop
from testbed.censor.actions.duplicate import Duplicate
from testbed.censor.actions.freeze import Freeze
from testbed.censor.actions.police import Police
from testbed.censor.actions.reorder import Reorder
from testbed.censor.actions.reset import Reset
from testbed.censor.actions.shape import Shape
from testbed.censor.icmp import TYPES
from testbed.censor.match import Match
from testbed.censor.profile import Profile, Rule
from testbed.evidence import Evidence
from testbed.tools.fitting.capture_reading import FlowRecord
from testbed.tools.fitting.examination import Examination
from testbed.tools.fitting.fit_findings import Finding, Way, phrase, plain, verdict

_WEIGHTS = (
    "silence",
    "freeze",
    "answer",
    "reset",
    "shape",
    "police",
    "burst",
    "drop",
    "reorder",
    "delay",
    "jitter",
    "duplicate",
)
"""The kinds of findings from the weightiest to the lightest."""
_NO_RULE = ("list", "sized", "periodic")
"""Kinds that no action of a profile has."""
LEAST_LOSS = 0.01
"""Without a control, what a line may lose anyway is no rule."""
_LABELS = ("telegram-reflector", "whatsapp-like", "turn-channel-data", "stun", "rtp-timing", "rtp")
"""The labels of calls, the most specific ones first."""
_DIGITS = 4


@dataclass(frozen=True)
class Source:
    """Where the numbers of a profile come from."""

    captures: Sequence[str]
    """The SHA-256 of each capture."""
    has_control: bool

    def __str__(self) -> str:
        return "capture " + " and ".join(f"sha256:{each[:16]}" for each in self.captures)


def counts(finding: Finding) -> bool:
    """Return whether a finding becomes a rule of a profile."""
    if finding.attribution == "as in the control" or finding.kind in _NO_RULE:
        return False
    if finding.kind == "silence" and finding.direction == "both":
        # Servers that are off and ways that a call tries in vain are silent, too.
        return finding.attribution == "beyond the control"
    if finding.kind == "drop":
        probability = finding.number("probability")
        least = LEAST_LOSS if finding.attribution == "no control" else 0.0
        return probability is not None and probability.estimate.low > least
    return True


def profile_of(
    examined: Examination, findings: Sequence[Finding], *, title: str, today: str
) -> Profile:
    """Return the profile that findings amount to; `today` is a date such as `2026-11-30`."""
    hashes = [each.sha256 for each in (examined.near, examined.far) if each is not None]
    controls = ("beyond the control", "as in the control")
    has_control = any(each.attribution in controls for each in findings)
    source = Source(hashes, has_control)
    flows = {flow.seen.number: flow for flow in examined.near.flows}
    chosen = _chosen([each for each in findings if counts(each)])
    touched = {each.flow for each in chosen}
    rules = []
    for number, finding in enumerate(chosen, 1):
        flow = flows[finding.flow]
        others = [each for key, each in flows.items() if key not in touched]
        for rule in _rules(finding, flow, others, source):
            rules.append(_numbered(rule, number))
    description = _description(examined, findings, chosen, source)
    return Profile(title, description, tuple(rules), reviewed=today)


def _chosen(findings: Sequence[Finding]) -> list[Finding]:
    """Return the weightiest finding of each direction of each kind of flow."""
    taken: set[tuple[int, str]] = set()
    found: list[Finding] = []
    for finding in sorted(findings, key=lambda each: _WEIGHTS.index(each.kind)):
        ways = ("up", "down") if finding.direction == "both" else (finding.direction,)
        if any((finding.flow, way) in taken for way in ways):
            continue
        taken |= {(finding.flow, way) for way in ways}
        found.append(finding)
    return found


def _numbered(rule: Rule, number: int) -> Rule:
    return Rule(f"{number}-{rule.name}", rule.match, rule.action, rule.evidence, rule.from_s)


def _rules(
    finding: Finding, flow: FlowRecord, others: Sequence[FlowRecord], source: Source
) -> Iterator[Rule]:
    made = _action(finding, source)
    if made is None:
        return
    action, evidence = made
    match, why = match_of(flow, others, finding.direction)
    what = f"{phrase(finding.kind)}, {finding.affected} of {finding.of} packets; {finding.basis}"
    evidence = {
        **evidence,
        "match": Evidence(f"{source}: {why}", "measured"),
        "action": Evidence(f"{source}: {what}; {verdict(finding)}", "measured"),
    }
    from_s = None
    if finding.after_s is not None and finding.kind in ("drop", "burst"):
        from_s = round(finding.after_s.value, 3)
        how = f"{source}: {interval(finding.after_s)} s after the flow's first packet"
        evidence["from_s"] = Evidence(how, "measured")
    yield Rule(finding.kind, match, action, evidence, from_s)


def match_of(flow: FlowRecord, others: Sequence[FlowRecord], direction: Way) -> tuple[Match, str]:
    """Return a match that a flow meets and others of the capture do not, and what it rests on."""
    protocol: Literal["udp", "tcp"] = "tcp" if flow.seen.protocol == "tcp" else "udp"
    way = None if direction == "both" else direction
    alike = [each for each in others if each.seen.protocol == protocol]
    if not alike:
        why = f"the capture's flows of {protocol.upper()}; all of them were affected"
        return Match(protocol=protocol, direction=way), why
    own = flow.labels.difference(*(each.labels for each in alike))
    label = next((each for each in (*_LABELS, *sorted(own)) if each in own), None)
    if label is not None:
        why = f"flows recognised as {label} were affected, {len(alike)} others of "
        return Match(protocol=protocol, label=label, direction=way), why + "the protocol were not"
    ports = (str(flow.server_port),)
    why = f"flows to this port were affected; {len(alike)} others of the protocol were not"
    return Match(protocol=protocol, server_ports=ports, direction=way), why


def _action(finding: Finding, source: Source) -> tuple[Action, dict[str, Evidence]] | None:
    """Return the action of a finding and the evidence for its numbers; None if there is none."""
    values = {each.name: each.estimate for each in finding.numbers}
    evidence = {
        each.name: Evidence(f"{source}: {interval(each.estimate)}; {each.how}", "measured")
        for each in finding.numbers
    }
    action: Action | None = None
    match finding.kind:
        case "drop" | "silence":
            action = Drop(rounded(values["probability"].value))
        case "burst":
            loss, mean = values["loss"].value, values["mean_burst_packets"].value
            action = Burst(rounded(loss), rounded(max(mean, 1.0, loss / (1 - loss))))
        case "police" | "shape":
            return _limited(finding, values, evidence)
        case "freeze":
            action = _freeze(finding, values)
            evidence["after_packets"] = _counted(finding, evidence)
        case "reorder":
            held_ms = rounded(values["delay_ms"].value)
            action = Reorder(rounded(values["probability"].value), held_ms)
        case "duplicate":
            action = Duplicate(rounded(values["probability"].value))
        case _:
            return _without_numbers(finding, values, evidence)
    return None if action is None else (action, _used(action, evidence))


def _without_numbers(
    finding: Finding, values: Mapping[str, Estimate], evidence: dict[str, Evidence]
) -> tuple[Action, dict[str, Evidence]] | None:
    """Return the action of a finding whose numbers are few."""
    if finding.kind == "reset":
        return Reset(), {}
    if finding.kind == "answer":
        known = [reply for reply in TYPES if f"ICMP {reply} " in finding.basis]
        return (Answer(known[0]), {}) if known else None
    if finding.kind == "jitter":
        jitter_ms = rounded(values["jitter_ms"].value)
        why = "the least delay that allows this jitter; a constant delay does not show here"
        evidence["delay_ms"] = Evidence(why, "assumed")
        return Delay(jitter_ms, jitter_ms), evidence
    half_ms = rounded(values["delay_ms"].value / 2)
    how = f"{evidence['delay_ms'].source}; half in each direction, which is assumed"
    return Delay(half_ms), {"delay_ms": Evidence(how, "measured")}


def _limited(
    finding: Finding, values: Mapping[str, Estimate], evidence: dict[str, Evidence]
) -> tuple[Action, dict[str, Evidence]]:
    """Return the policer or shaper of a finding; a size that did not show is assumed."""
    rate_bps = rounded(values["rate_bps"].value)
    name = "burst_bytes" if finding.kind == "police" else "queue_bytes"
    size = values.get(name)
    if size is None:
        why = next((each.why for each in finding.unknown if each.name == name), "it did not show")
        evidence[name] = Evidence(f"a second at the rate: {why}", "assumed")
        size_bytes = rounded(rate_bps / 8)
    else:
        size_bytes = rounded(size.value)
    if finding.kind == "police":
        return Police(rate_bps, size_bytes), evidence
    return Shape(rate_bps, size_bytes), evidence


def _freeze(finding: Finding, values: Mapping[str, Estimate]) -> Freeze:
    suffix = "" if finding.direction == "both" else " of this direction"
    return Freeze(after_packets=round(values[f"after_packets{suffix}"].value))


def _counted(finding: Finding, evidence: Mapping[str, Evidence]) -> Evidence:
    suffix = "" if finding.direction == "both" else " of this direction"
    others = "; ".join(
        f"{name}: {each.source}" for name, each in evidence.items() if name.startswith("after_b")
    )
    packets = evidence[f"after_packets{suffix}"].source
    return Evidence(f"{packets}; that packets are counted is assumed ({others})", "measured")


def _used(action: Action, evidence: Mapping[str, Evidence]) -> dict[str, Evidence]:
    return {name: each for name, each in evidence.items() if name in action_numbers(action)}


def _description(
    examined: Examination,
    findings: Sequence[Finding],
    chosen: Sequence[Finding],
    source: Source,
) -> str:
    taken_on = datetime.fromtimestamp(examined.near.began_at, UTC).date()
    ends = "one end" if examined.far is None else "both ends"
    lines = [f"Fitted to a capture of {ends} of {taken_on} ({source}): what was done to its flows."]
    if not source.has_control:
        lines.append("There was no control, so all of it is consistent with a bad line, too.")
    if any(each.attribution == "beyond other flows" for each in chosen):
        lines.append("Other flows of the capture show less; they may take another way.")
    if not chosen:
        lines.append("Nothing was found that the profile could state.")
    for finding in findings:
        has_rule = finding.kind not in _NO_RULE
        if finding not in chosen and (counts(finding) or not has_rule):
            why = "a direction has one rule" if has_rule else "no action does it"
            lines.append(f"Not in it ({why}): {phrase(finding.kind)}, {finding.direction}.")
    lines += [f"Not known: {each.name}: {each.why}." for each in examined.unknown]
    return "\n".join(lines)


def interval(estimate: Estimate) -> str:
    """Return an estimate with its interval as text."""
    return f"{plain(estimate.value)}, 95 % {plain(estimate.low)} to {plain(estimate.high)}"


def rounded(value: float) -> float:
    """Return a number as it is written in a profile."""
    return float(f"{value:.{_DIGITS}g}")


# A profile as TOML.


def as_toml(profile: Profile) -> str:
    """Return a profile as the text of its file."""
    lines = [
        f"title = {_text(profile.title)}",
        f"reviewed = {_text(profile.reviewed)}",
        f"description = {_text(profile.description)}",
    ]
    for rule in profile.rules:
        lines += ["", "[[rules]]", f"name = {_text(rule.name)}"]
        lines.append(f"match = {_table(_set(rule.match))}")
        lines.append(f"action = {_table({'kind': rule.action.kind, **_set(rule.action)})}")
        if rule.from_s is not None:
            lines.append(f"from_s = {rule.from_s:g}")
        lines.append("[rules.evidence]")
        for name, each in rule.evidence.items():
            entry = {"source": each.source, "confidence": each.confidence}
            lines.append(f"{name} = {_table(entry)}")
    return "\n".join(lines) + "\n"


def _set(item: Match | Action) -> dict[str, object]:
    """Return the fields that differ from their defaults."""
    return {
        each.name: value
        for each in fields(item)
        if each.name != "kind" and (value := getattr(item, each.name)) != each.default
    }


def _table(entries: Mapping[str, object]) -> str:
    return "{ " + ", ".join(f"{key} = {_value(each)}" for key, each in entries.items()) + " }"


def _value(value: object) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, tuple):
        return "[" + ", ".join(_value(each) for each in value) + "]"
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _text(text: str) -> str:
    """Return a basic string of TOML, whose escapes are JSON's (and DEL's)."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")
