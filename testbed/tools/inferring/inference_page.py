"""Write an inference as one HTML page with its figures."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

import jinja2
from markupsafe import Markup
from matplotlib.figure import Figure

from testbed.experiment.hypotheses import Parameter
from testbed.show.drawing.files import write
from testbed.tools.fitting.fit_page import svg_of
from testbed.tools.inferring.conclusions import Conclusions, in_words, percent
from testbed.tools.inferring.inference_figures import hypotheses_figure, reports_figure
from testbed.tools.inferring.inference_tables import footer
from testbed.tools.inferring.study import Inference


def write_page(found: Inference, concluded: Conclusions, folder: Path) -> list[Path]:
    """Write the page and its figures into a folder, and return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Figure] = {"reports": reports_figure(found, concluded)}
    if not concluded.abstains:
        figures["hypotheses"] = hypotheses_figure(found, concluded)
    page = folder / "inference.html"
    page.write_text(page_of(found, concluded, figures))
    return [page, *(path for name, each in figures.items() for path in write(each, folder / name))]


def page_of(found: Inference, concluded: Conclusions, figures: dict[str, Figure]) -> str:
    """Return the page, which needs nothing from elsewhere."""
    template = resources.files("testbed.tools.inferring").joinpath("inference_page.html")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    drawn = {name: Markup(svg_of(figure)) for name, figure in figures.items()}
    reports = found.study.reports
    return environment.from_string(template.read_text()).render(
        title=reports.title,
        today=datetime.now(UTC).date(),
        reviewed=reports.reviewed,
        answer=in_words(found, concluded),
        hypotheses=drawn.get("hypotheses"),
        reports=drawn["reports"],
        judged=concluded.reports,
        parameters=found.study.family.parameters.items(),
        prior=_prior,
        percent=percent,
        footer=footer(concluded),
    )


def _prior(parameter: Parameter) -> str:
    if parameter.between is not None:
        return f"uniform, {parameter.between[0]:g} to {parameter.between[1]:g}"
    return ", ".join(f"{name} {percent(share)}" for name, share in parameter.choices.items())
