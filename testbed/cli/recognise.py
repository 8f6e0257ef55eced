"""The command `recognise`."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated

import typer

from testbed.censor.stack import AnyCensor
from testbed.cli.console import out, print_json
from testbed.cli.registry import Command, Panel
from testbed.experiment.explanations import ScenarioError
from testbed.experiment.scenario import load_any_censor
from testbed.tools.recognition.capture_file import Capture, CaptureError
from testbed.tools.recognition.evaluation import evaluate, labels_text, shares_table
from testbed.tools.recognition.flow_tables import answer, flow_row, flows_table
from testbed.tools.recognition.replay import Replay

_LEGEND = """\
The lab's detectors are hypotheses about middleboxes; none is a measurement of one. The capture is
only read: no packet is dropped, delayed or answered. A rule for a share of flows draws them with
seed 0, and the names of address lists stand for the lab's networks."""
_MAX_ROWS = 200


def recognise(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A capture: pcap or pcapng.")],
    censor: Annotated[
        str | None,
        typer.Option(
            metavar="CENSOR", help="Show which rules of this censor would apply (`list censors`)."
        ),
    ] = None,
    inside: Annotated[
        list[str] | None,
        typer.Option(metavar="CIDR", help="The users' network (repeatable)."),
    ] = None,
    written_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of a table.")
    ] = False,
    evaluate_: Annotated[
        bool,
        typer.Option(
            "--evaluate",
            help="Print how often detectors are right; FILE has labelled flows (.jsonl.gz).",
        ),
    ] = False,
) -> None:
    """Show what a middlebox would see in a capture: each flow, what is recognised, and when.

    Without --inside, the end of a flow with a private address is inside, or else the end that
    sent first.

    Examples: testbed recognise call.pcapng --censor ru-calls-2025-08;
    testbed recognise call.pcapng --censor 'ru-calls-2025-08 + ru-16kb-2025'
    """
    if evaluate_:
        _print_evaluation(file, as_json=written_json)
        return
    chosen = None if censor is None else load_any_censor(censor)
    replay = _replay(chosen, [_network(text) for text in inside or ()])
    with Capture(file) as capture:
        for captured in capture:
            replay.show(captured)
    if not replay.flows:
        _say_why_empty(file, capture)
    name = None if chosen is None else chosen.name
    if written_json:
        _print_json(file, capture, replay, name)
    else:
        _print(capture, replay, name)


def _print_evaluation(file: Path, *, as_json: bool) -> None:
    evaluation = evaluate(file)
    if as_json:
        print_json(evaluation)
        return
    out.print(shares_table(evaluation))
    out.print(f"\n{labels_text(evaluation)}", markup=False)


def _print_json(file: Path, capture: Capture, replay: Replay, censor: str | None) -> None:
    found = {
        "file": str(file),
        "frames": capture.frames,
        "not_ip": capture.not_ip,
        "cut_short": capture.cut,
        "ends_early": capture.ends_early,
        "censor": censor,
        "unlisted_packets": replay.unlisted,
        "flows": [flow_row(flow) for flow in replay.flows],
    }
    print_json(found)


def _print(capture: Capture, replay: Replay, censor: str | None) -> None:
    flows = replay.flows
    out.print(answer(flows, censor), markup=False)
    for note in _notes(capture, replay):
        out.print(note, markup=False)
    out.print(flows_table(flows[:_MAX_ROWS], with_rules=censor is not None))
    if len(flows) > _MAX_ROWS:
        out.print(f"{len(flows) - _MAX_ROWS} more flows are in the output of --json.")
    out.print(_LEGEND, style="dim")


def _notes(capture: Capture, replay: Replay) -> list[str]:
    """Return notes on the limits of the answer."""
    notes = {
        f"The file ends early, after {capture.frames} frames: {capture.ends_early}.": (
            capture.ends_early
        ),
        f"{capture.not_ip} of {capture.frames} frames do not carry IP.": capture.not_ip,
        f"{capture.cut} packets were captured incompletely; missing bytes are taken as zeros.": (
            capture.cut
        ),
        f"{replay.unlisted} packets belong to flows that are not listed.": replay.unlisted,
    }
    return [note for note, holds in notes.items() if holds]


def _say_why_empty(file: Path, capture: Capture) -> None:
    if capture.ends_early is not None:
        raise CaptureError(f"{file} ends before its first packet: {capture.ends_early}")
    if not capture.frames:
        raise CaptureError(f"{file} is a capture without packets")
    raise CaptureError(f"{file} has no complete IP packet in its {capture.frames} frames")


def _replay(censor: AnyCensor | None, inside: list[IPv4Network | IPv6Network]) -> Replay:
    try:
        return Replay(censor, inside)
    except ValueError as error:
        raise ScenarioError(str(error)) from None


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise ScenarioError(f"--inside {text}: {error}") from None


COMMAND = Command(Panel.RUN, recognise)
