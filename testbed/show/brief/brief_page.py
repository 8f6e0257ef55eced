"""Render a brief as one HTML page that needs no network and no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import jinja2

from testbed.censor.stack import AnyCensor
from testbed.evidence import Evidence
from testbed.experiment.transport_facts import TransportFacts
from testbed.show.answer.standing import standing
from testbed.show.brief.censor_sources import cited
from testbed.show.brief.transport_outcomes import Recorded, line_of, title_of
from testbed.show.drawing.words import tied


def brief_of(
    censor: AnyCensor,
    why: Mapping[str, Evidence],
    recorded: Sequence[Recorded],
    known: Mapping[str, TransportFacts],
    today: date,
) -> str:
    """Return the brief of a censor; `recorded` are the calls under it, by line.

    `why` has the evidence for each part of a dated stack being there, by the part's name.
    """
    rules = [rule for part in censor.parts for rule in part.rules]
    facts = [*why.values(), *(one for rule in rules for one in rule.evidence.values())]
    stand = standing(censor.name, censor, today)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("testbed.show.brief"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"tied": tied, "tool": title_of}
    return environment.get_template("brief.html").render(
        name=censor.name,
        why=why,
        censor=censor,
        stand=stand,
        today=today.isoformat(),
        days=(today - date.fromisoformat(stand.reviewed)).days if stand.reviewed else None,
        lines=[line_of(each, known) for each in recorded],
        sources=cited(facts, today),
    )
