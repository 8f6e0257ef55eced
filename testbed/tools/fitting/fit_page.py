"""Renders a fit as one HTML page without addresses, which needs nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from io import StringIO

import jinja2
from markupsafe import Markup
from matplotlib.figure import Figure

from testbed.show.drawing import style
from testbed.tools.fitting.contrasts import groups, groups_text
from testbed.tools.fitting.examination import Examination
from testbed.tools.fitting.fit_figures import evidence_figure
from testbed.tools.fitting.fit_findings import Finding
from testbed.tools.fitting.fit_tables import finding_rows, flows_text, headline, number_text
from testbed.tools.fitting.library import Candidate


@dataclass(frozen=True)
class Fit:
    """Everything that a fit says."""

    title: str
    today: str
    examined: Examination
    findings: Sequence[Finding]
    has_control: bool
    toml: str
    candidates: Sequence[Candidate] = ()


def page_of(fit: Fit) -> str:
    """Return the page."""
    template = resources.files("testbed.tools.fitting").joinpath("fit_page.html").read_text()
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    near, far = fit.examined.near, fit.examined.far
    rows = finding_rows(fit.examined, fit.findings)
    figure = evidence_figure(fit.examined, fit.findings)
    control = "A control was given." if fit.has_control else "There is no control."
    return environment.from_string(template).render(
        title=fit.title,
        headline=headline(fit.examined, fit.findings),
        date=datetime.fromtimestamp(near.began_at, UTC).date(),
        today=fit.today,
        length_s=f"{near.length_s:.0f}",
        ends="one end" if far is None else "both ends",
        control=control,
        rows=rows,
        texts={(n.name, n.value): number_text(n) for row in rows for n in row.numbers},
        unknown=fit.examined.unknown,
        notes=fit.examined.notes,
        groups=groups_text(groups(fit.examined)),
        figure=None if figure is None else Markup(svg_of(figure)),
        candidates=fit.candidates,
        flows=flows_text(fit.examined),
        toml=fit.toml,
    )


def svg_of(figure: Figure) -> str:
    """Return a figure as an SVG element; equal figures yield equal texts."""
    stream = StringIO()
    with style.applied():
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]
