"""Write a run's report: one self-contained HTML page.

Each part of the page has a module:

    calls      a run's calls by kind, and what the record holds of each
    sounds     short excerpts of what was said and heard
    drawings   the figures, as inline SVG
    origins    profiles with their sources, versions, how to repeat the run
    data       what the page's script shows of a call
    page       assembles all of it and renders the template
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.record.results import Run

if TYPE_CHECKING:
    from testbed.show.report.report_page import Page

REPORT = "report.html"


def write(
    run: Run, path: Path, tell: Callable[[str], None], today: date, *, with_sound: bool = True
) -> Page:
    """Write a run's report atomically, and return its page; raises what `page.page_of` raises."""
    # Imported here, not at the top: other commands must not load matplotlib and jinja2.
    from testbed.show.report.report_page import page_of  # noqa: PLC0415

    page = page_of(run, tell, today, with_sound=with_sound)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(page.html)
    os.replace(temporary, path)  # noqa: PTH105 - the atomic one
    return page
