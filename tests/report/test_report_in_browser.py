"""A report as a person meets it: in Chromium, by keyboard, by ear, in the dark, on a telephone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, sync_playwright

from testbed.record.results import Run

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs the package chromium"),
]
FIELD = '#matrix a[href="#call-whatsapp--direct--ru-calls-2025-08"]'
LEAST_CONTRAST = r"""() => {
  const parse = (colour) => colour.match(/[\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const found = parse(getComputedStyle(at).backgroundColor);
      if (found.length === 3 || found[3] === 1) return found;
    }
    return [255, 255, 255];
  };
  const written = [...document.querySelectorAll("body *:not(script):not(style):not(.figure *)")]
    .filter((e) => e.checkVisibility() && [...e.childNodes]
      .some((n) => n.nodeType === 3 && n.textContent.trim()));
  return written.map((e) => {
    const style = getComputedStyle(e);
    const ink = e instanceof SVGElement ? style.fill : style.color;
    const [low, high] = [light(parse(ink)), light(behind(e))].sort((a, b) => a - b);
    return [(high + 0.05) / (low + 0.05), e.outerHTML.slice(0, 120)];
  }).sort((a, b) => a[0] - b[0])[0];
}"""
"""The least contrast of a text to what is behind it (WCAG 2), and which it is."""
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
"""Width and height of a window, in CSS pixels."""


@pytest.fixture
def page(small_run: Run, answered: str) -> Iterator[Page]:
    """The report from the disk; whatever a browser complains of fails its test."""
    complaints: list[str] = []
    with sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.extend(_elsewhere(request.url)))
        assert "report.html" in answered
        page.goto((small_run.folder / "report.html").as_uri())
        yield page
        browser.close()
    assert complaints == []


def _elsewhere(url: str) -> list[str]:
    return [] if url.startswith(("file:", "data:")) else [f"asks for {url}"]


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until what has the focus matches; fail if that takes more than 60 times."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("(wanted) => document.activeElement.matches(wanted)", selector):
            return
    pytest.fail(f"the keyboard does not reach {selector}")


def test_the_keyboard_opens_a_call_and_comes_back_and_goes_on_to_the_sound(page: Page) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.textContent") == "Skip to the answer"
    tab_to(page, FIELD)
    outline = "() => getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) == "solid"
    page.keyboard.press("Enter")
    page.wait_for_selector("#call article")
    assert page.evaluate("() => document.activeElement.id") == "call"
    assert page.inner_text("#call-title") == "WhatsApp (model), direct, under ru-calls-2025-08"
    assert page.locator("#call article").count() == 2
    assert page.locator("#call svg rect").count() > 10
    page.get_by_text("Back to its field in the table").press("Enter")
    assert page.evaluate(f"() => document.activeElement.matches('{FIELD}')")
    tab_to(page, "audio")


def test_an_address_leads_to_a_call_and_a_wrong_one_to_none(page: Page) -> None:
    address = page.url.partition("#")[0]
    page.goto("about:blank")
    page.goto(f"{address}#call-whatsapp--obfs4--ru-calls-2025-08")
    page.wait_for_selector("#call article")
    assert "through obfs4" in page.inner_text("#call-title")
    assert page.locator("#matrix a[aria-current]").count() == 1
    page.goto("about:blank")
    page.goto(f"{address}#call-constructor")
    assert page.locator("#call").is_hidden()


def test_players_play(page: Page) -> None:
    page.click(FIELD)
    for player in (page.locator("#hear ~ * audio").first, page.locator("#call audio").last):
        player.evaluate("(audio) => audio.play()")
        handle = player.element_handle()
        page.wait_for_function("(audio) => audio.currentTime > 0.5", arg=handle)
        assert player.evaluate("(audio) => audio.duration") == pytest.approx(8, abs=0.2)
        assert player.evaluate("(audio) => audio.error") is None
        player.evaluate("(audio) => audio.pause()")


def test_every_text_can_be_read_in_the_light_and_in_the_dark(page: Page) -> None:
    page.click(FIELD)
    page.wait_for_selector("#call article")
    grounds = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        grounds.append(page.evaluate("() => getComputedStyle(document.body).backgroundColor"))
        least, where = page.evaluate(LEAST_CONTRAST)
        assert least >= 4.5, (scheme, where)
    assert grounds == ["rgb(255, 255, 255)", "rgb(22, 24, 26)"]


def test_each_region_of_a_call_has_a_name_of_its_own(page: Page) -> None:
    page.click(FIELD)
    page.wait_for_selector("#call article")
    names = page.evaluate(
        "() => [...document.querySelectorAll('[role=region][aria-label]')].map((e) => e.ariaLabel)"
    )
    assert len(names) == len(set(names))


def test_it_fits_on_a_telephone_and_on_paper(page: Page, tmp_path: Path) -> None:
    page.set_viewport_size({"width": 400, "height": 800})
    page.click(FIELD)
    page.wait_for_selector("#call article")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 400
    page.emulate_media(media="print")
    assert page.locator("nav").is_hidden()
    assert page.locator("#call article").first.is_visible()
    page.pdf(path=tmp_path / "report.pdf", format="A4")
    assert (tmp_path / "report.pdf").stat().st_size > 20_000


def violations(page: Page) -> str:
    """Return what axe-core finds wrong with what is shown, by all its rules; empty if nothing."""
    found = Axe().run(page)
    return str(found.generate_report()) if found.violations_count else ""


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_core_finds_no_violation(
    page: Page, size: str, scheme: Literal["light", "dark"]
) -> None:
    width, height = SIZES[size]
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme=scheme)
    assert violations(page) == ""
    page.click(FIELD)
    page.wait_for_selector("#call article")
    assert violations(page) == ""


def test_axe_core_would_find_one(page: Page) -> None:
    page.evaluate("() => document.querySelector('main').append(document.createElement('button'))")
    assert "button-name" in violations(page)
