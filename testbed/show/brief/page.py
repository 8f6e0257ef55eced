"""Render a brief as one HTML page that needs no network and no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import jinja2

from testbed.censor.profile import Profile
from testbed.experiment.transport_facts import TransportFacts
from testbed.show.answer.standing import standing
from testbed.show.brief.evidence import cited
from testbed.show.brief.findings import Recorded, line_of, title_of
from testbed.show.drawing.words import tied


def brief_of(
    name: str,
    censor: Profile,
    recorded: Sequence[Recorded],
    known: Mapping[str, TransportFacts],
    today: date,
) -> str:
    """Return the brief of a censor; `recorded` are the calls under it, by line."""
    facts = [one for rule in censor.rules for one in rule.evidence.values()]
    stand = standing(name, censor, today)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("testbed.show.brief"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"tied": tied, "tool": title_of}
    return environment.get_template("brief.html").render(
        name=name,
        censor=censor,
        stand=stand,
        today=today.isoformat(),
        days=(today - date.fromisoformat(stand.reviewed)).days if stand.reviewed else None,
        lines=[line_of(each, known) for each in recorded],
        sources=cited(facts, today),
    )
