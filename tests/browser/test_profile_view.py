"""A run's profile in a notebook, in a real JupyterLab in a real browser.

Four ranks are recorded, and a notebook of two cells that shows them by `profile_view` is run from
JupyterLab's menu. The timeline lives in a frame that sees nothing of the notebook: there it has to
be drawn, and to answer to the keyboard. Every request of the page is noted: none may leave this
machine, and nothing may go wrong on the console. Screenshots go to $WORKSHOP_SCREENSHOTS if it is
set.
"""

import json

import pytest

from course_lib.config import Layout
from course_lib.profile.summary import COLOURS
from course_lib.profile.timeline import KINDS
from tests.browser.test_start_here import CHROMIUM, FLAGS
from tests.unit.test_profile_run import train

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

RANKS, LIMIT_MS = 4, 90_000
CELLS = (
    "from pathlib import Path\nfrom course_lib.widgets import profile_view",
    "profile_view(next(Path('runs').iterdir()))",
)
COLOURS_IN = """
const coloursIn = (pen, ...area) => {
  const { data } = pen.getImageData(...area), found = new Set();
  for (let i = 0; i < data.length; i += 4) {
    found.add("#" + [...data.slice(i, i + 3)].map((x) => x.toString(16).padStart(2, "0")).join(""));
  }
  return [...found].map((colour) => colour.toUpperCase());
};
"""
COLOURS_OF_BANDS = f"""canvas => {{
  {COLOURS_IN}
  const {{ timeline }} = canvas.closest("[data-timeline]"), scale = devicePixelRatio;
  return timeline.bands.map((_, rank) => coloursIn(timeline.pen, ...[
    timeline.x(timeline.view[0]), timeline.top(rank), timeline.width, timeline.bandHeight,
  ].map((pixels) => pixels * scale)));
}}"""
COLOURS_OF_IMAGE = f"""async (image) => {{
  {COLOURS_IN}
  await image.decode();
  const {{ naturalWidth: width, naturalHeight: height }} = image;
  const pen = new OffscreenCanvas(width, height).getContext("2d");
  pen.drawImage(image, 0, 0);
  return coloursIn(pen, 0, 0, width, height);
}}"""

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt: chromium)"),
    pytest.mark.timeout(600),
]


@pytest.fixture
def notebook(tmp_path, small_corpus, monkeypatch):
    """A notebook beside a recorded run, both where JupyterLab looks."""
    monkeypatch.setenv("WORKSHOP_BASE", str(tmp_path))
    train(tmp_path / "runs", small_corpus, RANKS, Layout(pp=2, tp=2))
    about = {"execution_count": None, "metadata": {}, "outputs": []}
    cells = [
        {"cell_type": "code", "id": f"c{n}", "source": source, **about}
        for n, source in enumerate(CELLS)
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)"}}
    text = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "profile.ipynb").write_text(json.dumps(text))
    return "profile.ipynb"


@pytest.fixture
def page(notebook, jupyter, shots, watched):
    """The notebook in JupyterLab; `page.left` and `page.wrong` list what should not be."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        page = watched(browser.new_page(viewport={"width": 1300, "height": 1250}))
        page.set_default_timeout(LIMIT_MS)
        page.goto(f"{jupyter}/lab/tree/{notebook}?token=abc")
        page.wait_for_selector("text=Python 3 (ipykernel) | Idle")
        yield page
        page.screenshot(path=shots / "profile_view_last.png")  # what was there when a test failed
        browser.close()


def choose(page, menu: str, *items: str) -> None:
    page.locator(f".lm-MenuBar-itemLabel:text-is('{menu}')").click()
    for item in items:
        page.locator(f".lm-Menu-itemLabel:text-is('{item}')").click()


def test_a_profile_is_shown_in_a_notebook(page, shots):
    choose(page, "Run", "Run All Cells")
    frame = page.frame_locator("iframe[title=timeline]")
    canvas, live, shown = (frame.locator(f".tl-{name}") for name in ("canvas", "live", "range"))
    canvas.wait_for()
    bars, roofline = (page.locator(".jp-OutputArea-output img").nth(n) for n in (0, 1))
    roofline.wait_for()
    assert live.inner_text().startswith(f"Step 5: {RANKS} ranks, ")
    expected = {KINDS[kind].colour for kind in ("forward", "backward", "comm")}
    bands = canvas.evaluate(COLOURS_OF_BANDS)
    assert len(bands) == RANKS and all(expected <= set(found) for found in bands)
    legend = frame.locator(".tl-legend button").all_inner_texts()
    assert {"forward", "backward", "waiting for a stage"} <= set(legend)
    page.screenshot(path=shots / "profile_view.png")

    whole = shown.inner_text()
    canvas.focus()
    page.keyboard.press("+")
    assert shown.inner_text() != whole and live.inner_text() == f"Showing {shown.inner_text()}."
    assert canvas.evaluate(COLOURS_OF_BANDS) != bands, "the picture is the same, zoomed"
    page.keyboard.press("]")
    assert live.inner_text().startswith("rank 0: ")
    page.keyboard.press("0")
    assert shown.inner_text() == whole
    # The frame is as high as what is in it: nothing to scroll, and no hole below.
    room = "() => innerHeight - document.querySelector('main').offsetHeight"
    assert 0 <= canvas.evaluate(room) < 100
    assert canvas.evaluate("() => document.documentElement.scrollWidth - innerWidth") == 0

    assert COLOURS["compute"].upper() in bars.evaluate(COLOURS_OF_IMAGE)
    choose(page, "Settings", "Theme", "JupyterLab Dark")
    page.locator("body[data-jp-theme-light='false']").wait_for(state="attached")
    page.wait_for_timeout(500)
    page.screenshot(path=shots / "profile_view_dark.png")

    assert page.locator("[data-mime-type*='error'], [data-mime-type*='stderr']").count() == 0
    assert page.left == [], "the page asked for addresses outside this machine"
    assert page.wrong == []
