"""The lecture's page in a real browser, as a file: readable from the last row, and by itself.

It is built once, into a folder of the tests. Screenshots of all slides go to
$WORKSHOP_SCREENSHOTS if it is set.
"""

import os
import re
from pathlib import Path

import pytest

from slides.figures.style import SMALLEST_PT
from tests.browser.test_start_here import CHROMIUM, FLAGS

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
build = pytest.importorskip("slides.build", reason="what builds slides is not installed")

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt: chromium)"),
    pytest.mark.timeout(300),
]

SMALLEST_PX = {"source": 15, "": 20, "figure": SMALLEST_PT * 96 / 72}
"""Of a figure: before it is scaled to the slide, where it may lose two."""
LOOK = """(smallest) => {
  const slide = Reveal.getCurrentSlide(), found = [];
  const frame = slide.querySelector('.frame').getBoundingClientRect();
  const body = slide.querySelector('.body');
  if (Math.round(frame.width) !== 1280 || Math.round(frame.height) !== 720) found.push('size');
  if (body.scrollHeight > body.clientHeight + 1) found.push('body is too high');
  if (slide.querySelector('h2')?.clientHeight > 80) found.push('the title has two lines');
  for (const each of slide.querySelectorAll('.frame *')) {
    const box = each.getBoundingClientRect(), style = getComputedStyle(each);
    if (!box.width || each.closest('math')) continue;
    const name = each.tagName + ' ' + each.textContent.slice(0, 30);
    if (box.left < frame.left - 1 || box.right > frame.right + 1 ||
        box.top < frame.top - 1 || box.bottom > frame.bottom + 1) found.push(name + ' is out');
    if (style.display !== 'inline' && each.scrollWidth > each.clientWidth + 2 && each.clientWidth)
      found.push(name + ' is too wide');
    const own = [...each.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    const floor = each.closest('.source') ? smallest.source : smallest[''];
    if (own && parseFloat(style.fontSize) < floor) found.push(name + ' is too small');
    if (each.tagName !== 'IMG') continue;
    const scale = Math.min(box.width / each.naturalWidth, box.height / each.naturalHeight);
    if (!each.alt || !(scale * smallest.figure >= smallest[''] - 2))
      found.push(each.alt + ' is no picture, or its words are too small: ' + scale);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def lecture(tmp_path_factory):
    """The folder with the lecture, and its slides."""
    folder = tmp_path_factory.mktemp("slides")
    slides, missing = build.build("lecture1", folder)
    assert missing == []
    return folder, slides


@pytest.fixture
def page(lecture):
    """The page at 1280 x 720; `page.asked` and `page.said` list requests and messages."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, headless=True, args=FLAGS, timeout=120_000
        )
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        page.asked, page.said = [], []
        page.context.on("request", lambda request: page.asked.append(request.url))
        page.context.on("console", lambda message: page.said.append(message.text))
        page.context.on("weberror", lambda error: page.said.append(str(error.error)))
        page.goto((lecture[0] / "lecture1.html").as_uri())
        page.wait_for_function("Reveal.isReady()")
        page.evaluate("document.fonts.ready")
        yield page
        asked = [url for url in page.asked if not re.match(r"(file|data|about|blob):", url)]
        assert asked == [], "nothing leaves the machine"
        assert page.said == []
        browser.close()


def test_every_slide_is_whole_and_large_enough(page, lecture, shots) -> None:
    wrong = {}
    for slide in lecture[1]:
        if found := page.evaluate(LOOK, SMALLEST_PX):
            wrong[slide.number] = found
        if "WORKSHOP_SCREENSHOTS" in os.environ:
            page.screenshot(path=shots / f"slide{slide.number:02d}.png")
        page.keyboard.press("ArrowRight")
    assert wrong == {}
    assert page.evaluate("Reveal.getIndices().h") == len(lecture[1]) - 1, "the keyboard moves on"
    assert page.evaluate("document.fonts.check('30px Plex')")


def test_links_lead_from_where_the_page_lies(page) -> None:
    links = page.locator("a[href]").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    assert len(links) > 30
    folder = build.FOLDER / "out"
    assert {link for link in links if not Path(os.path.normpath(folder / link)).is_file()} == set()


def test_the_speaker_sees_notes_and_clock(page) -> None:
    with page.expect_popup() as opened:
        page.keyboard.press("s")
    speaker = opened.value
    speaker.wait_for_function("document.body.innerText.includes('Welcome. In this hour')")
    page.bring_to_front()
    page.keyboard.press("ArrowRight")
    speaker.wait_for_function("document.body.innerText.includes('Lunch is at a quarter past one')")


def test_the_pdf_has_a_page_for_each_slide(lecture) -> None:
    folder, slides = lecture
    data = (folder / "lecture1.pdf").read_bytes()
    assert len(re.findall(rb"/Type\s*/Page\b", data)) == len(slides)
    assert b"file:///" not in data, "no link to this machine"
    assert sorted(path.name for path in folder.iterdir()) == ["lecture1.html", "lecture1.pdf"]


def test_licences_stand_in_the_page(lecture) -> None:
    text = (lecture[0] / "lecture1.html").read_text()
    assert "reveal.js 6.0.2" in text and "Permission is hereby granted" in text
    assert text.count("SIL OPEN FONT LICENSE") >= 3
