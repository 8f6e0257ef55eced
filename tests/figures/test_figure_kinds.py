"""Every figure says its scenario, engine and n, cuts nothing off, and is drawn again the same."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from testbed.call.quality.measures import Step
from testbed.call.quality.verdict import Verdict
from testbed.record.cell_record import CellRecord
from testbed.record.manifest import ScenarioTitle
from testbed.record.observation import CallRecord, LineRecord
from testbed.record.results import ResultsError, Run
from testbed.show.drawing import style
from testbed.show.drawing.sheet import SERIES, NothingToDrawError
from testbed.show.figures import FIGURES, draw, fitting
from testbed.show.figures.delay import _beyond
from testbed.show.figures.matrix import median_verdict
from testbed.show.figures.pareto import frontier
from tests.records import frames, id_of, manifest, observation, record, write_run

OTHERS = [name for name, _ in fitting(0)][1:]
"""All figures but the one that has tests of its own."""
TRANSPORTS = ("direct", "obfs4", "shadowsocks2022", "fec {inner = hysteria2}")
SCENARIO = ScenarioTitle("mine", "Mine", "Which one, then?")
STEPS = [Step(float(s), s / 20, 90.0 - s) for s in range(12)]
FRAMES = CallRecord(up=frames(400)["up"], down=frames(400)["down"])


def written(folder: Path, calls: Sequence[CellRecord], question: str = SCENARIO.question) -> Run:
    about = replace(manifest(map(id_of, calls)), scenario=replace(SCENARIO, question=question))
    return write_run(folder, calls, about=about, sent=FRAMES)


def calls(censors: tuple[str, ...]) -> list[CellRecord]:
    """Calls that differ in transport, censor and seed, one kind of which never connects."""
    return [
        record(
            transport,
            censor,
            seed,
            r=None if (place, number) == (0, 1) else 90.0 - 9 * place + seed,
            steps=STEPS,
        )
        for number, censor in enumerate(censors)
        for place, transport in enumerate(TRANSPORTS)
        for seed in (1, 2, 3)
    ]


@pytest.fixture(scope="module", params=["matrix", "sweep"])
def any_run(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Run:
    """A run of which every figure but one has something to show."""
    censors = {
        "matrix": ("open", "ru-calls-2025-08", "a-censor-with-a-very-long-name-indeed"),
        "sweep": tuple(f"loss-5 loss={loss}" for loss in (0, 0.01, 0.05, 0.2, 0.5)),
    }
    return written(tmp_path_factory.mktemp("any") / "run", calls(censors[request.param]))


@pytest.fixture(scope="module", params=OTHERS)
def figure(any_run: Run, request: pytest.FixtureRequest) -> Figure:
    """Each figure of each run, made once for all tests."""
    try:
        return FIGURES[request.param].draw(any_run)
    except NothingToDrawError:
        pytest.skip("this run has nothing that the figure shows")


def texts(figure: Figure) -> list[Text]:
    return [t for t in figure.findobj(Text) if isinstance(t, Text) and t.get_text().strip()]


def test_every_figure_says_what_it_is_of(figure: Figure) -> None:
    said = " ".join(" ".join(t.get_text() for t in texts(figure)).split())
    for fact in ("Which one, then?", "scenario mine", "virtual time", "n\xa0=\xa0", "seeds 1–3"):
        assert fact.replace("\xa0", " ") in said.replace("\xa0", " "), fact


def test_no_text_is_cut_off(figure: Figure) -> None:
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
    figure = FIGURES["setup"].draw(written(tmp_path / "run", [record()], asked))
    figure.set_dpi(style.PNG_DPI)
    with style.applied():
        FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]
        (title,) = (t for t in figure.texts if t.get_text().startswith("Does"))
        assert title.get_window_extent().x1 <= figure.bbox.width - 0.04 * style.PNG_DPI


def setup_of(folder: Path, times_s: Mapping[str, float]) -> Figure:
    """The figure of one call through each transport, set up in such a time."""
    found = [record(transport, set_up_s=at_s) for transport, at_s in times_s.items()]
    return FIGURES["setup"].draw(written(folder / "run", found))


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
    found = [record(transport, r=r) for transport, r in rs.items()]
    figure = FIGURES["pareto"].draw(written(folder / "run", found))
    with style.applied():
        FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]
        for text in texts(figure):
            assert text.get_window_extent().x1 <= figure.bbox.width, text
    return " ".join(" ".join(t.get_text() for t in texts(figure)).split())


def test_long_names_are_complete_and_calls_that_were_not_set_up_are_named(tmp_path: Path) -> None:
    long = "wireguard {implementation = wireguard-go}"
    said = pareto_of(tmp_path, {"direct": None, "tor": 70.0, long: 80.0})
    assert long in said
    assert "direct: no call" in said
    assert "range of 1 calls" not in said


def test_thresholds_below_the_panel_are_not_drawn_beside_it(tmp_path: Path) -> None:
    said = pareto_of(tmp_path, {"direct": 85.0, "tor": 80.0})
    assert "unusable below" not in said
    assert "good needs" not in said


def test_a_call_with_good_sound_that_is_less_than_good_says_why(tmp_path: Path) -> None:
    late = record("tor", r=80.0, verdict=Verdict.USABLE)
    late = replace(late, quality=replace(late.quality, reasons=("mouth-to-ear delay 299 ms (up)",)))
    figure = FIGURES["pareto"].draw(written(tmp_path / "run", [record(r=90.0), late]))
    assert "tor: usable, delay 299 ms" in [t.get_text() for t in texts(figure)]


@pytest.mark.parametrize("name", ["timeline", "delay", "setup", "pareto", "usability"])
def test_calls_that_were_never_set_up_are_in_the_figure(name: str, tmp_path: Path) -> None:
    steps = [Step(float(second), 0.1, 60.0) for second in range(9)]
    found = [
        record("direct", r=None),
        *(record(f"way{n}", r=80.0 - n, steps=steps) for n in range(7)),
    ]
    said = " ".join(t.get_text() for t in texts(FIGURES[name].draw(written(tmp_path / "r", found))))
    assert re.search("never set up|no call", " ".join(said.split()))


def test_set_up_times_are_shown_for_each_censor(tmp_path: Path) -> None:
    found = [record(censor=censor, set_up_s=at) for censor, at in (("open", 0.2), ("loss-5", 2.0))]
    panels = FIGURES["setup"].draw(written(tmp_path / "run", found)).axes
    assert [panel.get_title(loc="left") for panel in panels] == [
        "WhatsApp (model), no restriction", "WhatsApp (model), loss-5",
    ]  # fmt: skip


def test_the_values_of_a_sweep_stand_where_they_are(tmp_path: Path) -> None:
    found = [record(censor=f"line loss={loss}", seed=1) for loss in (0, 0.1, 0.2, 0.5)]
    (panel,) = FIGURES["curve"].draw(written(tmp_path / "run", found)).axes
    places = panel.get_xticks()
    assert list(places) == [0, 10, 20, 50]
    assert panel.get_xscale() == "linear"


def test_delays_beyond_the_axis_are_mentioned(tmp_path: Path) -> None:
    run = written(tmp_path / "run", [record()])
    said = " ".join(t.get_text() for t in texts(FIGURES["delay"].draw(run)))
    assert "Beyond" not in said
    assert "other transports" not in said
    late = {"direct": {"one": np.full(401, 90.0)}, "obfs4": {"one": np.linspace(0, 2500, 401)}}
    assert _beyond(late) == "Beyond the edge at 2000 ms: 20\N{NO-BREAK SPACE}% of obfs4."


def test_no_mark_of_a_timeline_covers_words(tmp_path: Path) -> None:
    rule = "up: rule all: drop, probability 0.4"
    events = [(at, "udp", rule) for at in (0.0, 2.0, 4.0, 20.0)]
    call = replace(record(steps=STEPS), observation=observation(events=events))
    figure = FIGURES["timeline"].draw(written(tmp_path / "run", [call]))
    with style.applied():
        FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]
        (panel,) = figure.axes
        told = [t.get_window_extent() for t in panel.texts if rule in t.get_text()]
        marks = panel.transData.transform([(at, 1.22) for at in (0.0, 2.0, 4.0, 20.0)])
        assert told
        assert not any(box.x0 <= x <= box.x1 for box in told for x, _ in marks)


def test_a_timeline_shows_rate_and_queue_of_a_line_that_has_them(tmp_path: Path) -> None:
    seen = observation()
    seen.lines = {
        "access up": LineRecord([62_500, 0], [0.25, 0.0], [3, 0]),
        "access down": LineRecord([125_000, 125_000], [0.1, 0.02], [0, 0]),
    }
    call = replace(record(steps=STEPS), observation=seen)
    figure = FIGURES["timeline"].draw(written(tmp_path / "run", [call]))
    _, rates, waits = figure.axes
    drawn = [np.asarray(line.get_ydata()).tolist() for line in rates.lines]
    assert [2, 2, 2] in drawn  # Mbit/s
    [area] = rates.collections
    assert max(np.asarray(path.vertices)[:, 1].max() for path in area.get_paths()) == 1
    crosses = [line for line in waits.lines if line.get_marker() == "x"]
    assert [np.asarray(line.get_xdata()).tolist() for line in crosses] == [[0.25], []]
    assert "found the queue full" in " ".join(t.get_text() for t in texts(figure))


@pytest.mark.slow  # each figure of each run in three formats, twice
def test_a_plot_draws_what_there_is_as_png_svg_and_pdf_and_again_the_same(
    any_run: Run, tmp_path: Path
) -> None:
    paths = draw(any_run, None, tmp_path / "one")
    names = {path.stem for path in paths}
    assert {"usability", "timeline", "delay", "setup", "pareto"} <= names
    assert ("matrix" in names) or ("curve" in names)
    assert {path.suffix for path in paths} == {".png", ".svg", ".pdf"}
    again = draw(any_run, None, tmp_path / "two")
    assert [p.read_bytes() for p in paths] == [p.read_bytes() for p in again]


def test_a_named_figure_without_data_says_what_it_needs(tmp_path: Path) -> None:
    one = written(tmp_path / "one", [record()])
    for name, need in (
        ("matrix", "two transports"),
        ("timeline", "no call was set up"),
        ("curve", "sweeps"),
        ("pareto", "two transports"),
    ):
        with pytest.raises(ResultsError, match=need):
            draw(one, [name], tmp_path / "figures")
    assert not list(tmp_path.glob("figures/*"))


def test_two_runs_are_drawn_in_one_figure(tmp_path: Path) -> None:
    before = written(tmp_path / "a", calls(("open",)))
    after = written(tmp_path / "b", calls(("open",)))
    paths = draw(after, None, tmp_path / "figures", compare=before)
    assert [path.name for path in paths] == ["shift.png", "shift.svg", "shift.pdf"]
    other = written(tmp_path / "c", calls(("loss-5",)))
    with pytest.raises(ResultsError, match="no kind of call in common"):
        draw(after, None, tmp_path / "figures", compare=other)


def test_series_can_be_distinguished_without_colour(any_run: Run, tmp_path: Path) -> None:
    assert len({line.marker for line in SERIES}) == len({str(line.dash) for line in SERIES})
    assert all(style.contrast(line.colour, style.PAPER) >= 3 for line in SERIES)
    grey = Image.open(BytesIO(draw(any_run, ["setup"], tmp_path)[0].read_bytes())).convert("L")
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
