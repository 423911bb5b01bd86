"""Make a lecture's page and PDF: `python -m slides.build [--draft] [--out FOLDER] [LECTURE ...]`.

slides/lecture1.md becomes lecture1.html, which works as a file, without a network, and
lecture1.pdf, a slide a page, printed by Chromium; slides/MAP.md says which slide covers which part
of the outline. In a draft, figures that are not there yet are named and left out.
"""

import argparse
import shutil
import sys
from pathlib import Path

from slides import outline, packages
from slides.deck import Slide, read_deck
from slides.page import Page

FOLDER = Path(__file__).resolve().parent
LECTURES = ("lecture1",)
LIMIT_MS = 120_000


def build(name: str, out: Path, *, draft: bool = False) -> tuple[list[Slide], list[str]]:
    """Write a lecture's page and PDF into a folder; return its slides and what is missing.

    Raises:
        ValueError: the text, or a figure of it, is wrong.
        RuntimeError: packages could not be fetched, or there is no Chromium.
    """
    packages.fetch()
    slides = read_deck(FOLDER / f"{name}.md")
    page = Page(slides, draft=draft)
    out.mkdir(parents=True, exist_ok=True)
    screen = page.screen()
    (out / f"{name}.html").write_text(screen, encoding="utf-8")
    missing = list(dict.fromkeys(page.warnings))
    print_pdf(page.paper(), out / f"{name}.pdf")
    return slides, missing


def print_pdf(page: str, path: Path) -> None:
    """Print a page to a PDF.

    Raises:
        RuntimeError: there is no Chromium.
    """
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise RuntimeError("the PDF is printed by Chromium, which is not here: apt: chromium")
    source = path.with_suffix(".paper.html")
    source.write_text(page, encoding="utf-8")
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=chromium,
                args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
                timeout=LIMIT_MS,
            )
            tab = browser.new_page()
            tab.goto(source.as_uri(), timeout=LIMIT_MS)
            tab.pdf(
                path=path,
                prefer_css_page_size=True,
                print_background=True,
                tagged=True,
                outline=True,
            )
            browser.close()
    finally:
        source.unlink()


def main() -> int:
    """Build what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m slides.build", description=__doc__)
    parser.add_argument("lectures", nargs="*", metavar="LECTURE", help="left out, all of them")
    parser.add_argument("--out", type=Path, default=FOLDER / "out", help="slides/out, if not given")
    parser.add_argument("--draft", action="store_true", help="go on without missing figures")
    options = parser.parse_args()
    for name in options.lectures or LECTURES:
        try:
            slides, missing = build(name, options.out, draft=options.draft)
            outline.write(slides)
        except (ValueError, RuntimeError) as error:
            print(error, file=sys.stderr)
            return 1
        for each in missing:
            print(f"draft: {each}")
        minutes = sum(slide.minutes for slide in slides)
        print(f"{name}: {len(slides)} slides, {minutes:g} minutes")
        for suffix in ("html", "pdf"):
            path = options.out / f"{name}.{suffix}"
            print(f"  {path}  {path.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
