"""The explorer in a notebook, used with mouse and keyboard in a real JupyterLab in a real browser.

What it says at first is what the planner says, every slider is reached by Tab and moved by arrows,
a combination that cannot run leaves the picture greyed and is explained. Every request of the page
is noted: none may leave this machine, and nothing may go wrong on the console. Screenshots go to
$WORKSHOP_SCREENSHOTS if it is set.
"""

import json

import pytest

from course_lib.explorer.widget import LABELS
from course_lib.planning import PlanOptions, plan
from tests.browser.test_profile_view import choose
from tests.browser.test_start_here import CHROMIUM, FLAGS

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

LIMIT_MS = 90_000
CELL = """from course_lib.explorer import explorer
explorer(model="gpt_175b", gpus=1024, gpu="a100-80gb", tokens=300e9)"""
FOCUSED = """() => {
  const now = document.activeElement;
  return now.closest(".widget-slider")?.querySelector("label").innerText || now.innerText;
}"""

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt: chromium)"),
    pytest.mark.timeout(600),
]


@pytest.fixture
def page(tmp_path, jupyter, shots, watched):
    """A notebook of one cell in JupyterLab; `left` and `wrong` list what should not be."""
    about = {"execution_count": None, "metadata": {}, "outputs": []}
    cells = [{"cell_type": "code", "id": "c0", "source": CELL, **about}]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)"}}
    text = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "explore.ipynb").write_text(json.dumps(text))
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        page = watched(browser.new_page(viewport={"width": 1280, "height": 720}))
        page.set_default_timeout(LIMIT_MS)
        page.goto(f"{jupyter}/lab/tree/explore.ipynb?token=abc")
        page.wait_for_selector("text=Python 3 (ipykernel) | Idle")
        yield page
        page.screenshot(path=shots / "explorer_last.png")  # what was there when a test failed
        browser.close()


def test_the_explorer_answers_to_mouse_and_keyboard(page, shots, capsys):
    choose(page, "Run", "Run All Cells")
    said = page.locator(".workshop-explorer [role=status]")

    def says(words: str) -> None:
        said.filter(has_text=words).wait_for()

    # At first: the planner's own choice, with its numbers.
    said.wait_for()
    plan(PlanOptions(model="gpt_175b", gpus=1024, tokens=300e9, json=True))
    best, *_ = json.loads(capsys.readouterr().out)["layouts"]
    mesh = " x ".join(f"{axis} {best['layout'][axis]}" for axis in ("tp", "pp", "dp"))
    days, gib = f"{best['days']:.1f} d", f"{best['total_bytes'] / 2**30:.1f} GiB"
    for words in (mesh, f"{best['step_s']:.1f} s a step", days, gib):
        says(words)
    pictures = page.locator(".workshop-explorer svg[role=img]")
    assert pictures.count() == 3
    matrix_products = f"matrix products {best['parts_s']['gemm']:.2f} s"
    assert matrix_products in (pictures.nth(2).get_attribute("aria-label") or "")
    page.locator(".workshop-explorer").scroll_into_view_if_needed()
    page.screenshot(path=shots / "explorer.png")

    # Tab goes through all controls in their order; the focus is seen.
    handles = page.locator(".workshop-explorer .noUi-handle")
    handles.first.focus()
    reached = []
    for _ in range(2 * len(LABELS) + 2):
        if (name := page.evaluate(FOCUSED)) not in reached:
            reached.append(name)
        page.keyboard.press("Tab")
    assert reached[: len(LABELS) + 1] == [label for label, _ in LABELS.values()] + ["best layout"]
    pipeline = handles.nth(list(LABELS).index("pp"))
    pipeline.focus()
    outline = pipeline.evaluate("handle => getComputedStyle(handle).outlineStyle")
    assert outline == "solid"

    # Keyboard: two more stages are one step each, then the chunks are too many.
    page.keyboard.press("ArrowRight")
    says("tp 4 x pp 16 x dp 16")
    page.keyboard.press("ArrowRight")
    says("No such layout: num_layers(96) / (pp(32) x virtual_stages(6)) is not whole")
    says("The nearest that runs has virtual stages 3. In grey: the layout before.")
    greyed = page.locator(".workshop-explorer .wx.old")
    assert float(greyed.evaluate("box => getComputedStyle(box).opacity")) < 0.5
    page.screenshot(path=shots / "explorer_refused.png")
    page.get_by_role("button", name="nearest that runs").press("Enter")
    says("tp 4 x pp 32 x dp 8")
    assert greyed.count() == 0
    assert page.locator(".workshop-explorer text", has_text="are not drawn").count() == 1
    page.screenshot(path=shots / "explorer_32_stages.png")

    # Mouse: the left end of tp's track, then the button.
    track = page.locator(".workshop-explorer .noUi-base").nth(list(LABELS).index("tp"))
    track.click(position={"x": 2, "y": 1})
    says("No such layout: sp cuts the sequence over tp, but tp is 1")
    page.get_by_role("button", name="best layout").click()
    says(mesh)

    # Out of memory is said, and drawn.
    micro = handles.nth(list(LABELS).index("micro_batch"))
    micro.focus()
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    says("Out of memory.")
    assert page.locator(".workshop-explorer rect[fill='url(#wx-over)']").count() > 0
    choose(page, "Settings", "Theme", "JupyterLab Dark")
    page.locator("body[data-jp-theme-light='false']").wait_for(state="attached")
    page.wait_for_timeout(500)
    page.screenshot(path=shots / "explorer_dark.png")

    assert page.locator("[data-mime-type*='error'], [data-mime-type*='stderr']").count() == 0
    assert page.left == [], "the page asked for addresses outside this machine"
    assert page.wrong == []
