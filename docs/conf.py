"""Configure Sphinx; see docs/decisions/0069 for why it is used."""

from __future__ import annotations

from sphinx.application import Sphinx

import testbed

project = "Call testbed"
copyright = "the authors of call-testbed, Apache-2.0"
version = release = testbed.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "decisions/intro.md", "reference/*-intro.md"]
myst_heading_anchors = 3
autodoc_typehints_format = "short"
default_role = "code"
smartquotes = False  # they turn the -- of options into a dash

html_theme = "furo"
html_title = "Call testbed"
html_show_sphinx = False
html_copy_source = False
html_static_path = ["static"]
html_css_files = ["tables.css"]


def _keep_colons(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Keep napoleon from reading the words before a colon as the type of an attribute.

    It does so in the first line only, so an empty one goes first.
    """
    if what in {"attribute", "data"}:
        lines.insert(0, "")


def setup(app: Sphinx) -> None:
    """Register what is special about these documents."""
    before_napoleon = 400
    app.connect("autodoc-process-docstring", _keep_colons, priority=before_napoleon)
