"""The command `fit`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated

import typer

from testbed.censor.profile import Profile
from testbed.cli.console import err, out, print_json, short
from testbed.cli.fit_dumps import fit_dump, is_without_packets
from testbed.cli.kernel import guest_kernel
from testbed.cli.registry import Command, Panel
from testbed.experiment.explanations import ScenarioError
from testbed.experiment.hypotheses import load_family
from testbed.experiment.scenario import censor_names, load_any_censor, stack_names
from testbed.run.runner import in_guest
from testbed.show.drawing.files import write
from testbed.tools.fitting import self_check
from testbed.tools.fitting.anonymising import anonymise
from testbed.tools.fitting.as_report import report_of
from testbed.tools.fitting.capture_reading import read_capture
from testbed.tools.fitting.contrasts import contrasted, groups, groups_text
from testbed.tools.fitting.controls import compared
from testbed.tools.fitting.examination import Examination, examine
from testbed.tools.fitting.fit_figures import compared_figure
from testbed.tools.fitting.fit_findings import Finding
from testbed.tools.fitting.fit_page import Fit, page_of
from testbed.tools.fitting.fit_tables import finding_rows, findings_table, headline
from testbed.tools.fitting.hypotheses_tried import Tried, sentences, tried
from testbed.tools.fitting.library import Candidate, Composition, candidates
from testbed.tools.fitting.localising import located
from testbed.tools.fitting.profile_file import as_toml, profile_of

_LEGEND = """\
Up is what the capture's own end sends. Intervals are 95 %. What these packets show is dated and
holds for this path: it does not show who did it, or why. Dim rows are not in the profile."""
_SHOWN = 10
_NEED_PACKETS = (
    *("--control", "--second", "--page", "--check", "--library", "--hypotheses", "--report"),
)
_STILL_THERE = """\
Times, sizes, ports and TTLs are still in them, and may tell which programs were used, and more:
they are safer to share, not safe."""


def fit(
    captures: Annotated[
        list[Path],
        typer.Argument(
            metavar="CAPTURE [FAR]",
            help="A capture of one end of a call, or of both; a WebRTC dump; OONI's measurements.",
        ),
    ],
    control: Annotated[
        list[Path] | None,
        typer.Option(metavar="CAPTURE", help="A control, of as many ends (repeatable)."),
    ] = None,
    second: Annotated[
        list[Path] | None,
        typer.Option(metavar="CAPTURE", help="The same call by a second server (repeatable)."),
    ] = None,
    profile_out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.toml", help="Write a profile.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write a page with the evidence.")
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Make the same kind of call under the profile."),
    ] = None,
    anonymous: Annotated[
        Path | None,
        typer.Option(
            "--anonymise", metavar="FOLDER", help="Only write copies without addresses and content."
        ),
    ] = None,
    library: Annotated[
        bool, typer.Option("--library", help="Which profiles and stacks could have produced it.")
    ] = False,
    hypotheses: Annotated[
        str | None,
        typer.Option(metavar="FAMILY", help="Which of its censors could have produced it."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE.toml", help="Write it as a report for the inference."),
    ] = None,
    inside: Annotated[
        list[str] | None,
        typer.Option(metavar="CIDR", help="The network of the end that captured (repeatable)."),
    ] = None,
    written_json: Annotated[bool, typer.Option("--json", help="Print JSON, not a table.")] = False,
) -> None:
    """Measure in captures what was done to a call, and write it as a profile.

    Nothing leaves this machine. With captures of both ends, the first one's end is inside. Without
    a control, a bad line looks the same as a restriction.

    Example: testbed fit call.pcapng --control unrestricted.pcapng --out mine.toml
    """
    if anonymous is not None:
        _anonymise([*captures, *(control or ()), *(second or ())], anonymous)
        return
    if len(captures) == 1 and is_without_packets(captures[0]):
        packets_for = (control, second, page, check, library, hypotheses, report)
        _fit_without_packets(captures[0], profile_out, packets_for, as_json=written_json)
        return
    call = _measured(captures, control or [], second or [], inside or [])
    possible = _possible(call.examined) if library else []
    family = None if hypotheses is None else _tried(call.examined, hypotheses)
    wrote = _written(call, possible, {"profile": profile_out, "page": page, "report": report})
    _show(call, possible, family, wrote, as_json=written_json)
    if check is not None and not written_json:
        _check(call, check)


def _fit_without_packets(
    path: Path, profile_out: Path | None, packets_for: Sequence[object], *, as_json: bool
) -> None:
    """Fit counters or events, for which there may be none of the options that need packets."""
    others = dict(zip(_NEED_PACKETS, packets_for, strict=True))
    fit_dump(path, profile_out, others, today=_today(), as_json=as_json)


@dataclass(frozen=True)
class _Measured:
    """What captures show of a call, and the profile that follows."""

    examined: Examination
    control: Examination | None
    found: Sequence[Finding]
    profile: Profile


def _measured(
    captures: Sequence[Path], control: Sequence[Path], second: Sequence[Path], inside: Sequence[str]
) -> _Measured:
    """Return what captures show, compared with a control and with a second server if given."""
    networks = [_network(text) for text in inside]
    with err.status("reads captures"):
        examined = _examined(captures, networks)
        compared_to = _examined(control, networks) if control else None
    found = contrasted(examined) if compared_to is None else compared(examined, compared_to)
    if second:
        found = located(examined, found, _examined(second, networks))
    taken_on = datetime.fromtimestamp(examined.near.began_at, UTC).date()
    title = f"Fitted to a capture of {taken_on}"
    made = profile_of(examined, found, title=title, today=_today())
    return _Measured(examined, compared_to, found, made)


def _show(
    call: _Measured,
    possible: Sequence[Candidate],
    family: Tried | None,
    wrote: Sequence[Path],
    *,
    as_json: bool,
) -> None:
    if as_json:
        print_json({**_json(call.examined, call.found, possible), "hypotheses": family})
        return
    _print(call.examined, call.found, possible)
    for sentence in sentences(family) if family else ():
        out.print(sentence, markup=False)
    for path in wrote:
        out.print(f"Wrote {short(path)}", markup=False)


def _tried(examined: Examination, family: str) -> Tried:
    with err.status("replays censors of the family"):
        return tried(examined, load_family(family))


def _written(
    call: _Measured, possible: Sequence[Candidate], wanted: Mapping[str, Path | None]
) -> list[Path]:
    """Write the files that are wanted (a profile, a page, a report), and return their paths."""
    toml, is_compared = as_toml(call.profile), call.control is not None
    about = Fit(
        call.profile.title, _today(), call.examined, call.found, is_compared, toml, possible
    )
    texts: Mapping[str, Callable[[], str]] = {
        "profile": lambda: toml,
        "report": lambda: report_of(call.examined),
        "page": lambda: page_of(about),
    }
    wrote = []
    for what, text in texts.items():
        if path := wanted[what]:
            path.write_text(text())
            wrote.append(path)
    return wrote


def _possible(examined: Examination) -> list[Candidate]:
    with err.status("replays profiles"):
        names = [*censor_names(), *stack_names()]
        return candidates(examined, [Composition(n, load_any_censor(n).parts) for n in names])


def _anonymise(paths: Sequence[Path], folder: Path) -> None:
    for path in anonymise(paths, folder):
        out.print(f"Wrote {short(path)}", markup=False)
    out.print(_STILL_THERE, style="dim")


def _check(call: _Measured, folder: Path) -> None:
    """Make a call under the profile, and draw it next to the capture."""
    if folder.exists():
        raise ScenarioError(f"{folder} is there already: give another --check")
    cell = self_check.similar_call(call.examined, call.control, call.profile)
    kernel, cpu = guest_kernel(), min(os.sched_getaffinity(0))
    with err.status(f"makes a call of {cell.duration_s:.0f} s by {cell.messenger.title}"):
        both_ends = call.examined.far is not None
        modelled = self_check.made(cell, folder, in_guest(kernel), cpu, both_ends=both_ends)
    out.print("A call under the profile:", markup=False)
    out.print(findings_table(modelled, modelled.findings))
    pairs = self_check.pairs(call.examined, modelled)
    if not pairs:
        out.print("There is nothing to draw: no direction shows its packets in both.")
        return
    paths = write(compared_figure(pairs), folder / "compared")
    out.print(f"Figure: {short(paths[0])}", markup=False)


def _examined(paths: Sequence[Path], networks: Sequence[IPv4Network | IPv6Network]) -> Examination:
    if len(paths) > 2:
        raise ScenarioError("a call has two ends: give one capture of it or two")
    near, *rest = (read_capture(path, networks) for path in paths)
    return examine(near, rest[0] if rest else None)


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise ScenarioError(f"--inside {text}: {error}") from None


def _json(
    examined: Examination, found: Sequence[Finding], possible: Sequence[Candidate]
) -> dict[str, object]:
    return {
        "sha256": [each.sha256 for each in (examined.near, examined.far) if each],
        "answer": headline(examined, found),
        "findings": finding_rows(examined, found),
        "unknown": [f"{each.name}: {each.why}" for each in examined.unknown],
        "notes": list(examined.notes),
        "groups": groups(examined),
        "library": list(possible),
    }


def _print(examined: Examination, found: Sequence[Finding], possible: Sequence[Candidate]) -> None:
    out.print(headline(examined, found), markup=False)
    if found:
        out.print(findings_table(examined, found))
    for sentence in groups_text(groups(examined)):
        out.print(sentence, markup=False)
    for each in examined.unknown:
        out.print(f"Not known: {each.name}: {each.why}.", markup=False)
    for note in examined.notes:
        out.print(note, markup=False)
    if possible:
        able = [each for each in possible if each.is_possible]
        names = ", ".join(f"{each.profile} ({each.behind:.1f})" for each in able[:_SHOWN])
        more = f", and {len(able) - _SHOWN} more" if len(able) > _SHOWN else ""
        out.print(
            f"Profiles that could have produced this, with how far they are behind the best in log "
            f"likelihood: {names or 'none'}{more}. {len(possible) - len(able)} could not.",
            markup=False,
        )
    out.print(_LEGEND, style="dim")


COMMAND = Command(Panel.RUN, fit)
