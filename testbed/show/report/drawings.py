"""Turns the figures into SVG that stands inline in a page; draws nothing of its own."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO
from xml.etree import ElementTree

from testbed.record.results import Run
from testbed.show.figures import FIGURES
from testbed.show.figures.files import FORMATS
from testbed.show.figures.sheet import NothingToDrawError
from testbed.show.figures.style import applied
from testbed.show.figures.tally import tally

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_BARS = 80
"""Of more kinds of calls there are no bars: the page's own matrix shows them."""
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_PICTURES = {
    "usability": "Calls by verdict",
    "timeline": "What was lost, second by second",
    "delay": "Delay from mouth to ear",
    "curve": "Usable calls by strength",
    "setup": "Time to set a call up",
    "pareto": "Overhead against quality",
}
"""The figures that a page has, and their headings; the page's table is its matrix."""


@dataclass(frozen=True)
class Drawing:
    """One figure of a page."""

    name: str
    heading: str
    svg: str
    """An element `svg` with the name of the heading that labels it."""


def drawings_of(run: Run, tell: Callable[[str], None]) -> list[Drawing]:
    """Draw the figures for which a run has something to show; `tell` is called with each name."""
    many = len(tally(run.cells(), run.failures())) > _BARS
    found = []
    for name in FIGURES:
        if name not in _PICTURES or (many and name == "usability"):
            continue
        tell(name)
        try:
            found.append(Drawing(name, _PICTURES[name], _drawn(run, name)))
        except NothingToDrawError:
            continue
    return found


def _drawn(run: Run, name: str) -> str:
    figure = getattr(import_module(f"testbed.show.figures.{name}"), name)(run)
    stream = BytesIO()
    with applied():
        figure.savefig(stream, format="svg", metadata=dict(FORMATS["svg"]))
    return inline(stream.getvalue().decode(), name, labelled_by=f"figure-{name}")


def inline(svg: str, prefix: str, labelled_by: str) -> str:
    """Make an SVG file an element of a page: ids of its own, as wide as it may be, with a name.

    A reader's program is told what the heading `labelled_by` says, and reads the texts in it.
    """
    for space, uri in (("", _SVG), ("xlink", _XLINK)):
        ElementTree.register_namespace(space, uri)
    root = ElementTree.fromstring(svg)
    for metadata in root.findall(f"{{{_SVG}}}metadata"):
        root.remove(metadata)
    for element in root.iter():
        _prefix(element, prefix)
    for length in ("width", "height", "version"):
        root.attrib.pop(length, None)
    root.attrib |= {"role": "group", "aria-labelledby": labelled_by}
    return ElementTree.tostring(root, encoding="unicode")


def _prefix(element: ElementTree.Element, prefix: str) -> None:
    for key, value in list(element.attrib.items()):
        if key == "id":
            element.set(key, f"{prefix}-{value}")
        elif key == f"{{{_XLINK}}}href":
            element.set("href", f"#{prefix}-{value.removeprefix('#')}")
            del element.attrib[key]
        else:
            element.set(key, _REFERENCE.sub(rf"url(#{prefix}-\1)", value))
