"""Writes a run's report, one HTML page; what is on it lives in the modules here.

answer     what the statistics say, in words
calls      a run's calls by kind, and what the record has of each
sounds     what was said and heard, short
drawings   the figures, inline
origins    profiles with their sources, versions, how to repeat it
data       what the page's script shows of a call
page       all of it through a template
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.record.results import Run

if TYPE_CHECKING:
    from testbed.show.report.page import Page

REPORT = "report.html"


def write(run: Run, path: Path, tell: Callable[[str], None], *, with_sound: bool = True) -> Page:
    """Write a run's report, whole or not at all; what it raises stands in `page.page_of`."""
    # Not at the top: other commands do not pay for matplotlib and jinja2.
    from testbed.show.report.page import page_of  # noqa: PLC0415

    page = page_of(run, tell, with_sound=with_sound)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(page.html)
    os.replace(temporary, path)  # noqa: PTH105 - the atomic one
    return page
