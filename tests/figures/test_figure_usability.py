from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree as ET

import matplotlib
import pytest
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from PIL import Image

from testbed.call.quality.verdict import Verdict
from testbed.record.cell_record import CellRecord
from testbed.record.manifest import ScenarioTitle
from testbed.record.results import ResultsError, Run
from testbed.show.drawing.style import FAILED_FILL, VERDICT_FILLS, WIDTH_IN
from testbed.show.figures import draw, fitting
from testbed.show.figures.usability import usability
from tests.figures.conftest import awkward, demo, sweep
from tests.records import RUSSIA, manifest, write_run

FAILED = f"telegram--direct--{RUSSIA}-drop-0.4--seed-9"
WORDS = {to_hex(fill.colour): verdict.label for verdict, fill in VERDICT_FILLS.items()}
WORDS[to_hex(FAILED_FILL.colour)] = "failed"


def texts(figure: Figure) -> list[str]:
    return [t.get_text() for t in figure.findobj(Text) if isinstance(t, Text) and t.get_text()]


def drawn_bars(figure: Figure) -> dict[float, dict[str, float]]:
    """Return each bar's parts by its height in the axes: the verdict and its share."""
    bars: dict[float, dict[str, float]] = {}
    for patch in figure.axes[1].patches:
        assert isinstance(patch, Rectangle)
        _, _, _, opacity = to_rgba(patch.get_facecolor())
        if opacity:
            word = WORDS[to_hex(patch.get_facecolor())]
            bars.setdefault(round(patch.get_y(), 6), {})[word] = patch.get_width()
    return bars


def test_what_is_drawn_is_what_was_recorded(tmp_path: Path) -> None:
    cells = [c for c in sweep() if c.messenger == "telegram"]
    bars = drawn_bars(usability(write_run(tmp_path / "run", cells, [FAILED])))
    recorded: dict[float, Counter[str]] = {}
    for cell in cells:
        drop = float(cell.censor.split("=")[1])
        recorded.setdefault(drop, Counter())[cell.verdict.label] += 1
    recorded[0.4]["failed"] += 1
    assert len(bars) == len(recorded) == 12
    for (_, bar), (_, counts) in zip(sorted(bars.items()), sorted(recorded.items()), strict=True):
        assert bar == pytest.approx({k: n / counts.total() for k, n in counts.items()})


def test_the_founding_case_can_be_read_off(tmp_path: Path) -> None:
    found = Counter(texts(usability(write_run(tmp_path / "run", demo()))))
    assert found["5 no call"] == found["5 unusable"] == 1
    assert found["0 of 5"] == 2
    assert found["5 of 5"] == 7
    assert found["100\xa0%"] >= 9
    for title in ("Telegram (model)", "WhatsApp (model)", "MAX (model)"):
        assert found[title] == 1


def test_every_verdict_is_in_the_key_once(tmp_path: Path) -> None:
    figure = usability(write_run(tmp_path / "run", sweep()[:5], [FAILED]))
    legends = [axes.get_legend() for axes in figure.axes if axes.get_legend()]
    (legend,) = legends
    assert legend is not None
    names = [text.get_text() for text in legend.get_texts()]
    assert names == [v.label for v in sorted(Verdict, reverse=True)] + ["failed, no result"]


@pytest.mark.parametrize("cells", [demo()[:1], sweep()[10:40], awkward()], ids=len)
def test_nothing_is_cut_or_overlaps(cells: list[CellRecord], tmp_path: Path) -> None:
    figure = usability(write_run(tmp_path / "run", cells))
    assert figure.get_figwidth() == pytest.approx(WIDTH_IN)
    figure.draw_without_rendering()
    page = figure.bbox
    boxes = []
    for text in _shown(figure):
        box = text.get_window_extent()
        assert box.x0 >= page.x0 - 1, text
        assert box.x1 <= page.x1 + 1, text
        assert box.y0 >= page.y0 - 1, text
        assert box.y1 <= page.y1 + 1, text
        boxes.append((box, text.get_text()))
    for index, (one, name) in enumerate(boxes):
        for other, other_name in boxes[:index]:
            across = min(one.x1, other.x1) - max(one.x0, other.x0)
            along = min(one.y1, other.y1) - max(one.y0, other.y0)
            assert min(across, along) < 2, (name, other_name)


def _shown(figure: Figure) -> list[Text]:
    """Return the texts that are drawn."""
    found = list(figure.texts)
    for axes in figure.axes:
        found += axes.texts
        found += [t for t in axes.get_children() if isinstance(t, Text) and t not in axes.texts]
        if legend := axes.get_legend():
            found += legend.get_texts()
        if axes.axison:
            found += [*axes.get_xticklabels(), *axes.get_yticklabels()]
    return [text for text in found if text.get_text() and text.get_visible()]


def test_a_run_in_which_all_failed_is_shown_as_that(tmp_path: Path) -> None:
    figure = usability(write_run(tmp_path / "run", [], [FAILED]))
    assert "1 failed" in texts(figure)


def test_all_formats_are_written(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", demo()[:15:5])
    paths = draw(run, ["usability"], tmp_path / "one")
    assert [p.name for p in paths] == ["usability.png", "usability.svg", "usability.pdf"]
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == sorted(p.name for p in paths)
    page = ET.fromstring(paths[1].read_bytes())
    words = [t.text for t in page.iter("{http://www.w3.org/2000/svg}text")]
    assert "restricted, through obfs4" in words


@pytest.mark.slow  # three formats at full resolution, three times
def test_a_figure_is_equal_when_it_is_written_again(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", demo()[:15:5])
    first = draw(run, ["usability"], tmp_path / "one")
    with matplotlib.rc_context({"font.size": 31, "svg.hashsalt": "x", "figure.dpi": 31}):
        second = draw(run, ["usability", "usability"], tmp_path / "other")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    picture = Image.open(BytesIO(first[0].read_bytes()))
    assert picture.width == int(WIDTH_IN * 200)


def test_a_run_without_cells_says_so(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [])
    with pytest.raises(ResultsError, match="no calls to draw"):
        draw(run, None, tmp_path / "figures")
    (run.folder / "cells").rmdir()
    with pytest.raises(ResultsError, match="no calls to draw"):
        usability(run)
    with pytest.raises(ResultsError, match="not a run's folder"):
        usability(Run(tmp_path / "nowhere"))
    assert not (tmp_path / "figures").exists()


def test_a_run_of_which_little_is_known_is_drawn(tmp_path: Path) -> None:
    about = replace(manifest(), scenario=ScenarioTitle("s", "", ""))
    figure = usability(write_run(tmp_path / "run", demo()[:1], about=about))
    assert "Which calls stay usable, by messenger and transport?" in texts(figure)


def test_an_unknown_figure_is_refused_before_any_is_drawn(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no figure usabilty; there are usability"):
        draw(Run(tmp_path), ["usability", "usabilty"], tmp_path / "figures")
    assert next(fitting(1))[0] == "usability"


def test_the_list_of_figures_costs_no_drawing_library() -> None:
    code = "import sys, testbed.show.figures; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
