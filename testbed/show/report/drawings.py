"""Turn the figures into SVG elements that can stand inline in one page.

Several SVGs in one page share its name space of ids, so each gets ids with a prefix of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from xml.etree import ElementTree

from matplotlib.figure import Figure

from testbed.record.results import Run
from testbed.show.drawing.files import FORMATS
from testbed.show.drawing.sheet import NothingToDrawError
from testbed.show.drawing.style import applied
from testbed.show.drawing.tally import tally
from testbed.show.figures import fitting

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_REFERENCE = re.compile(r"url\(#([^)]+)\)")


@dataclass(frozen=True)
class Drawing:
    """One figure of a page."""

    name: str
    heading: str
    svg: str
    """An `svg` element that refers to the heading that labels it."""


def drawings_of(run: Run, tell: Callable[[str], None]) -> list[Drawing]:
    """Draw the figures for which a run has data; `tell` is called with each name.

    The page has a table of its own instead of the figures without a heading.
    """
    found = []
    for name, figure in fitting(len(tally(run.cells(), run.failures()))):
        if not figure.heading:
            continue
        tell(name)
        try:
            found.append(Drawing(name, figure.heading, _drawn(figure.draw(run), name)))
        except NothingToDrawError:
            continue
    return found


def _drawn(figure: Figure, name: str) -> str:
    stream = BytesIO()
    with applied():
        figure.savefig(stream, format="svg", metadata=dict(FORMATS["svg"]))
    return inline(stream.getvalue().decode(), name, labelled_by=f"figure-{name}")


def inline(svg: str, prefix: str, labelled_by: str) -> str:
    """Return an SVG file as an element of a page: with unique ids, no fixed size, and a label.

    Screen readers announce it by the heading with the id `labelled_by`, and read the texts in it.
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
