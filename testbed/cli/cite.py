"""The command `cite`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from testbed.cli.registry import Command, Panel
from testbed.errors import did_you_mean
from testbed.evidence import Evidence
from testbed.experiment import scenario
from testbed.experiment.explanations import ScenarioError
from testbed.show.bibliography import bibtex, sources


def print_citations(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="Profiles, stacks, messengers, link sets, traces or NATs; all by default.",
        ),
    ] = None,
) -> None:
    """Print the sources of censors, messengers, link sets, traces and NATs as BibTeX.

    Numbers that are assumed or that this project measured have no entry.

    Example: testbed cite ru-calls-2025-08 whatsapp > sources.bib
    """
    evidence = _evidence()
    if unknown := [name for name in names or () if name not in evidence]:
        known = ", ".join(evidence) + did_you_mean(unknown[0], evidence)
        raise ScenarioError(f"nothing is called {', '.join(unknown)}; there are {known}")
    wanted = {name: evidence[name] for name in names or evidence}
    sys.stdout.write(bibtex(sources(wanted)))


def _evidence() -> dict[str, Sequence[Evidence]]:
    """Return the evidence in each file, by the file's name."""
    censors = {name: scenario.load_censor(name) for name in scenario.censor_names()}
    stacks = {name: scenario.load_stack_file(name) for name in scenario.stack_names()}
    messengers = {name: scenario.load_messenger(name) for name in scenario.messenger_names()}
    links, nats = scenario.LINK_FILES.all_sets(), scenario.LINK_FILES.all_nats()
    traces = scenario.LINK_FILES.all_models()
    return {
        **{
            name: [
                *profile.inspection.evidence.values(),
                *(e for rule in profile.rules for e in rule.evidence.values()),
            ]
            for name, profile in censors.items()
        },
        **{name: [part.evidence for part in stack.parts] for name, stack in stacks.items()},
        **{name: list(messenger.evidence.values()) for name, messenger in messengers.items()},
        **{name: list(link_set.evidence.values()) for name, link_set in links.items()},
        **{name: list(model.evidence.values()) for name, model in traces.items()},
        **{name: list(nat.evidence.values()) for name, nat in nats.items()},
    }


COMMAND = Command(Panel.COMPARE, print_citations)
