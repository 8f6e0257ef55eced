"""Every figure says its scenario, engine and n, cuts nothing off, and is drawn again the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from testbed.call.quality.verdict import Verdict
from testbed.experiment.scenario import load_messenger
from testbed.record.observation import CallRecord, write_frames
from testbed.record.results import ResultsError, Run
from testbed.show import figures
from testbed.show.figures import FIGURES, draw, style
from testbed.show.figures.delay import _beyond
from testbed.show.figures.matrix import median_verdict
from testbed.show.figures.pareto import frontier
from testbed.show.figures.sheet import SERIES, NothingToDrawError
from tests.test_comparison import cell, made
from tests.test_results import frames

TRANSPORTS = ("direct", "obfs4", "shadowsocks2022", "fec {inner = hysteria2}")
MANIFEST = {
    "definitions": {"messenger whatsapp": {"codec": asdict(load_messenger("whatsapp").codec)}},
    "scenario": {"name": "mine", "title": "Mine", "question": "Which one, then?"},
}


def steps(count: int = 12) -> list[dict[str, float]]:
    return [
        {"from_s": float(s), "concealed_share": s / 20, "r_fullband_100": 90.0 - s}
        for s in range(count)
    ]


def calls(censors: tuple[str, ...]) -> list[dict[str, Any]]:
    """Calls that differ in transport, censor and seed, one kind of which never connects."""
    found = []
    for number, censor in enumerate(censors):
        for place, transport in enumerate(TRANSPORTS):
            for seed in (1, 2, 3):
                none = (place, number) == (0, 1)
                content = cell(transport, seed, None if none else 90.0 - 9 * place + seed)
                content["censor"] = censor
                content["record"]["call"] = {"ended_s": 12.0 + number}
                for side in ("up", "down") if not none else ():
                    content["quality"][side] = {**content["quality"][side], "steps": steps()}
                found.append(content)
    return found


@pytest.fixture(params=["matrix", "sweep"])
def run(tmp_path: Path, request: pytest.FixtureRequest) -> Run:
    """A run of which every figure but one has something to show."""
    censors = {
        "matrix": ("open", "ru-calls-2025-08", "a-censor-with-a-very-long-name-indeed"),
        "sweep": tuple(f"loss-5 loss={loss}" for loss in (0, 0.01, 0.05, 0.2, 0.5)),
    }
    return with_frames(made(tmp_path / "run", *calls(censors[request.param]), **MANIFEST))


def with_frames(made_run: Run) -> Run:
    directions = frames(400)
    record = CallRecord(up=directions["up"], down=directions["down"])
    for result in made_run.results():
        write_frames(record, result.folder / "frames.csv")
    return made_run


def drawn(name: str, run: Run) -> Figure:
    try:
        return figures._figure(name, run, None)
    except NothingToDrawError:
        pytest.skip("this run has nothing that the figure shows")


def texts(figure: Figure) -> list[Text]:
    return [t for t in figure.findobj(Text) if isinstance(t, Text) and t.get_text().strip()]


@pytest.mark.parametrize("name", FIGURES[1:])
def test_every_figure_says_what_it_is_of(name: str, run: Run) -> None:
    said = " ".join(" ".join(t.get_text() for t in texts(drawn(name, run))).split())
    for fact in ("Which one, then?", "scenario mine", "virtual time", "n\xa0=\xa0", "seeds 1–3"):
        assert fact.replace("\xa0", " ") in said.replace("\xa0", " "), fact


@pytest.mark.parametrize("name", FIGURES[1:])
def test_no_text_is_cut_off(name: str, run: Run) -> None:
    figure = drawn(name, run)
    with style.applied():
        canvas = FigureCanvasAgg(figure)
        canvas.draw()  # type: ignore[no-untyped-call]
        drawn_parts = [*figure.axes, *figure.texts, *figure.legends]
        for box in (part.get_tightbbox() for part in drawn_parts):
            assert box is not None
            assert box.x0 >= -1
            assert box.y0 >= -1
            assert box.x1 <= figure.bbox.width + 1
            assert box.y1 <= figure.bbox.height + 1


def test_a_title_keeps_clear_of_the_edge(tmp_path: Path) -> None:
    asked = "Does a restriction hit harder when both ends of a call are behind a box, by a relay?"
    manifest = {**MANIFEST, "scenario": {"name": "mine", "title": "Mine", "question": asked}}
    figure = figures._figure("setup", made(tmp_path, cell("direct", 1, 80.0), **manifest), None)
    figure.set_dpi(style.PNG_DPI)
    with style.applied():
        FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]
        (title,) = (t for t in figure.texts if t.get_text().startswith("Does"))
        assert title.get_window_extent().x1 <= figure.bbox.width - 0.04 * style.PNG_DPI


def setup_of(folder: Path, times_s: Mapping[str, float]) -> Figure:
    """The figure of one call through each transport, set up in such a time."""
    contents = [cell(transport, 1, 80.0) for transport in times_s]
    for content, at_s in zip(contents, times_s.values(), strict=True):
        content["quality"]["set_up"]["elapsed_s"] = at_s
    return figures._figure("setup", made(folder, *contents, **MANIFEST), None)


def test_a_call_set_up_faster_than_any_other_is_drawn(tmp_path: Path) -> None:
    (panel,) = setup_of(tmp_path, {"direct": 0.05, "obfs4": 15.0}).axes
    low_s, high_s = panel.get_xlim()
    assert low_s < 0.05
    assert high_s > 30
    assert "0.05" in [t.get_text() for t in panel.get_xticklabels()]


def test_the_words_of_a_threshold_cover_no_call(tmp_path: Path) -> None:
    figure = setup_of(tmp_path, {"direct": 15.6})
    with style.applied():
        FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]
        (label,) = (t for t in texts(figure) if "at best poor" in t.get_text())
        assert label.get_window_extent().y0 >= figure.axes[0].bbox.y1


def pareto_of(folder: Path, rs: Mapping[str, float | None]) -> str:
    """All that is written on the figure of one call through each transport."""
    contents = [cell(transport, 1, r) for transport, r in rs.items()]
    figure = figures._figure("pareto", made(folder, *contents, **MANIFEST), None)
    with style.applied():
        FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]
        for text in texts(figure):
            assert text.get_window_extent().x1 <= figure.bbox.width, text
    return " ".join(" ".join(t.get_text() for t in texts(figure)).split())


def test_long_names_are_whole_and_calls_that_never_came_about_are_named(tmp_path: Path) -> None:
    long = "wireguard {implementation = wireguard-go}"
    said = pareto_of(tmp_path, {"direct": None, "tor": 70.0, long: 80.0})
    assert long in said
    assert "No call was set up, so no point: direct." in said
    assert "range of 1 calls" not in said


def test_a_delay_beyond_the_axis_is_told(tmp_path: Path) -> None:
    made_run = with_frames(made(tmp_path, cell("direct", 1, 80.0), **MANIFEST))
    said = " ".join(t.get_text() for t in texts(figures._figure("delay", made_run, None)))
    assert "Beyond" not in said
    assert "other transports" not in said
    late = {"direct": {"one": np.full(401, 90.0)}, "obfs4": {"one": np.linspace(0, 2500, 401)}}
    assert _beyond(late) == "Beyond the edge at 2000 ms: 20\N{NO-BREAK SPACE}% of obfs4."


def test_no_mark_of_a_timeline_covers_words(tmp_path: Path) -> None:
    content = cell("direct", 1, 80.0)
    rule = "up: rule all: drop, probability 0.4"
    content["record"]["middlebox"]["events"] = [[at, "udp", rule] for at in (0.0, 2.0, 4.0, 20.0)]
    for side in ("up", "down"):
        content["quality"][side] = {**content["quality"][side], "steps": steps()}
    figure = figures._figure("timeline", made(tmp_path, content, **MANIFEST), None)
    with style.applied():
        FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]
        (panel,) = figure.axes
        told = [t.get_window_extent() for t in panel.texts if rule in t.get_text()]
        marks = panel.transData.transform([(at, 1.22) for at in (0.0, 2.0, 4.0, 20.0)])
        assert told
        assert not any(box.x0 <= x <= box.x1 for box in told for x, _ in marks)


def test_a_plot_draws_what_there_is_as_png_svg_and_pdf_and_again_the_same(
    run: Run, tmp_path: Path
) -> None:
    paths = draw(run, None, tmp_path / "one")
    names = {path.stem for path in paths}
    assert {"usability", "timeline", "delay", "setup", "pareto"} <= names
    assert ("matrix" in names) or ("curve" in names)
    assert {path.suffix for path in paths} == {".png", ".svg", ".pdf"}
    again = draw(run, None, tmp_path / "two")
    assert [p.read_bytes() for p in paths] == [p.read_bytes() for p in again]


def test_a_named_figure_without_data_says_what_it_needs(tmp_path: Path) -> None:
    one = made(tmp_path / "one", cell("direct", 1, 80.0), **MANIFEST)
    for name, need in (
        ("matrix", "two transports"),
        ("timeline", "by the second"),
        ("curve", "sweeps"),
        ("pareto", "two transports"),
    ):
        with pytest.raises(ResultsError, match=need):
            draw(one, [name], tmp_path / "figures")
    assert not list(tmp_path.glob("figures/*"))


def test_two_runs_are_drawn_beside_each_other(tmp_path: Path) -> None:
    before = made(tmp_path / "a", *calls(("open",)), **MANIFEST)
    after = made(tmp_path / "b", *calls(("open",)), **MANIFEST)
    paths = draw(after, None, tmp_path / "figures", compare=before)
    assert [path.name for path in paths] == ["shift.png", "shift.svg", "shift.pdf"]
    other = made(tmp_path / "c", *calls(("loss-5",)), **MANIFEST)
    with pytest.raises(ResultsError, match="no kind of call in common"):
        draw(after, None, tmp_path / "figures", compare=other)


def test_series_are_told_apart_without_colour(run: Run) -> None:
    assert len({line.marker for line in SERIES}) == len({str(line.dash) for line in SERIES})
    assert all(style.contrast(line.colour, style.PAPER) >= 3 for line in SERIES)
    grey = Image.open(BytesIO(draw(run, ["setup"], run.folder / "g")[0].read_bytes())).convert("L")
    darkest, brightest = grey.getextrema()
    assert (darkest, brightest) < (60, 256)
    assert brightest == 255


counts = st.dictionaries(st.sampled_from(Verdict), st.integers(1, 9), min_size=1)


@given(counts)
def test_a_median_verdict_has_half_of_the_calls_on_either_side(
    verdicts: dict[Verdict, int],
) -> None:
    middle, n = median_verdict(verdicts), sum(verdicts.values())
    assert 2 * sum(k for v, k in verdicts.items() if v < middle) < n
    assert 2 * sum(k for v, k in verdicts.items() if v > middle) <= n


points = st.lists(st.tuples(st.integers(1, 50), st.integers(0, 100)), min_size=1)


@given(points)
def test_a_frontier_is_what_nothing_surpasses(found: list[tuple[int, int]]) -> None:
    best = frontier([(float(c), float(w)) for c, w in found])
    for cost, worth in best:
        assert not any(c <= cost and w >= worth and (c, w) != (cost, worth) for c, w in found)
    assert min(c for c, _ in found) == best[0][0]
