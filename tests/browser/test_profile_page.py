"""The report page in a real browser: it asks for nothing, and works without a mouse or eyes.

The page is opened as a file, as a colleague would who got it by mail. Screenshots go to
$WORKSHOP_SCREENSHOTS if it is set.
"""

import os
from pathlib import Path

import pytest

from course_lib.profile.page import html_page
from tests.browser.test_start_here import CHROMIUM, FLAGS
from tests.unit.test_profile_report import EVIL, FINDING, profile

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt: chromium)"),
    pytest.mark.timeout(240),
]


@pytest.fixture
def page(tmp_path):
    """The page of eight ranks; `page.asked` lists the addresses it asked for."""
    path = tmp_path / "report.html"
    path.write_text(html_page(profile(8), [FINDING], profile(8, name="before", factor=2)))
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, headless=True, args=FLAGS, timeout=120_000
        )
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.asked, page.said = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.address = path.as_uri()
        page.goto(page.address)
        yield page
        named = os.environ.get("WORKSHOP_SCREENSHOTS")
        folder = Path(named) if named else tmp_path
        folder.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=folder / "profile_page.png", full_page=True)
        browser.close()


def live(page) -> str:
    return page.inner_text(".tl-live")


def test_a_mailed_page_asks_for_nothing(page):
    assert [url for url in page.asked if not url.startswith("data:")] == [page.address]
    assert page.said == []
    assert page.locator("h2").all_inner_texts()[:4] == [
        "What to change",
        "Against before",
        "Where the time went",
        "Timeline",
    ]
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280


def test_the_timeline_is_told_to_who_only_has_a_keyboard(page):
    page.focus(".tl-canvas")
    told = [live(page)]
    for key in ("]", "]", "]", "[", "ArrowDown", "Enter", "ArrowRight", "+", "-", "ArrowUp", "0"):
        page.keyboard.press(key)
        told.append(live(page))
    assert told[0].startswith("Step 5: 8 ranks, 100 ms")
    assert told[1].startswith("rank 0: data (data), 0.00 to 2.00 ms")
    assert told[2].startswith("rank 0: forward m0 c0 (forward), 2.0 to 12.0 ms, 10.0 ms")
    assert told[3].startswith("rank 0: blocks.0 (layers, loss)")
    assert told[4] == told[2]
    assert told[5].startswith("rank 1: ")
    assert told[7].startswith("Showing ") and "of 100 ms" in told[7]
    assert told[8] != told[7] == told[9], "out again is where it was"
    assert told[11].startswith("Showing 0")
    assert page.said == []


def test_the_timeline_can_be_reached_and_left_with_tab(page):
    page.focus(".tl-bar select")
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className") == "tl-canvas":
            break
    else:
        raise AssertionError("Tab does not come to the timeline")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") != "tl-canvas"


def test_steps_are_picked_and_kinds_switched_off(page):
    page.select_option(".tl-bar select", "1")
    assert live(page).startswith("Step 6")
    page.get_by_role("button", name="data", exact=True).click()
    page.focus(".tl-canvas")
    page.keyboard.press("]")
    assert live(page).startswith("rank 0: forward m0 c0"), "data is not shown and not read out"


def test_the_mouse_zooms_and_tells(page):
    canvas = page.locator(".tl-canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 35)
    assert page.locator(".tl-tip").is_visible()
    assert "rank 0" in page.inner_text(".tl-tip")
    before = page.inner_text(".tl-range")
    page.mouse.click(box["x"] + 200, box["y"] + 35)
    page.mouse.wheel(0, -300)
    page.wait_for_function("t => document.querySelector('.tl-range').innerText !== t", arg=before)
    assert page.said == []


def test_tables_sort(page):
    head = page.locator("table.sortable th", has_text="calls").last
    table = head.locator("xpath=ancestor::table")
    head.get_by_role("button").click()
    values = [int(text) for text in table.locator("tbody tr td:nth-child(4)").all_inner_texts()]
    assert values == sorted(values, reverse=True) and len(set(values)) > 1
    assert head.get_attribute("aria-sort") == "descending"


def test_names_from_a_trace_stay_text(page, tmp_path):
    path = tmp_path / "evil.html"
    path.write_text(html_page(profile(2, host=EVIL, name="evil")))
    page.goto(path.as_uri())
    assert page.locator("main img").count() == 0
    assert EVIL in page.locator("main table").first.inner_text()
    assert page.said == []
