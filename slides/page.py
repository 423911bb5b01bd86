"""Slides as HTML: one for the screen, moved by reveal.js, and one for paper, a slide on each page.

Everything that is shown lies inside the page: pictures, fonts, formulas as MathML, styles, and on
the screen reveal.js with its speaker view. A slide is always 1280 x 720; the screen's page scales
it. Numbers in double braces are the planner's (planned.py).
"""

import base64
import html
import re
from collections.abc import Sequence
from pathlib import Path

import latex2mathml.converter
from markdown_it import MarkdownIt
from mdit_py_plugins.container import container_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin

from slides import drawn, packages, planned
from slides.deck import FIGURE, Slide

FOLDER = Path(__file__).resolve().parent
BRACES = re.compile(r"\{\{(\w+)\}\}")
PERCENT = re.compile(r"(\d) %")
HINT = "Space: next · S: speaker view · O: overview · F: full screen"
REVEAL = """Reveal.initialize({width: 1280, height: 720, margin: 0, minScale: 0.2, maxScale: 6,
  center: false, hash: true, controls: false, progress: false, slideNumber: false,
  transition: 'none', backgroundTransition: 'none', plugins: [RevealNotes]});"""


class Page:
    """The slides of one lecture, and what is asked of their links."""

    def __init__(self, slides: Sequence[Slide], *, draft: bool = False) -> None:
        """Take the slides; in a draft, a missing figure is only warned of (`warnings`)."""
        self.slides = slides
        self.draft = draft
        self.warnings: list[str] = []
        self._parts = list(dict.fromkeys(slide.part for slide in slides if slide.part))
        self._markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
        for name in "columns column cards card steps stack tokens big huge".split():
            self._markdown.use(container_plugin, name)
        self._markdown.use(dollarmath_plugin, renderer=_formula, allow_digits=False)
        self._markdown.add_render_rule("image", _image)

    def screen(self) -> str:
        """Return the page for the screen: reveal.js, keyboard, speaker view."""
        reveal = packages.text(packages.REVEAL, "dist/reveal.js")
        speaker = packages.text(packages.REVEAL, "dist/plugin/notes.js")
        styles = packages.text(packages.REVEAL, "dist/reveal.css")
        sections = "\n".join(self.section(slide) for slide in self.slides)
        return self._document(
            styles,
            f'<div class="reveal"><div class="slides">\n{sections}\n</div></div>\n'
            f"<script>{_script(reveal)}</script>\n<script>{_script(speaker)}</script>\n"
            f"<script>{REVEAL}</script>",
        )

    def paper(self) -> str:
        """Return the page for paper: a slide a page; links that lead nowhere there are words."""
        sections = "\n".join(self.section(slide, paper=True) for slide in self.slides)
        return self._document("", f'<main class="paper">\n{sections}\n</main>')

    def section(self, slide: Slide, *, paper: bool = False) -> str:
        """Return one slide.

        Raises:
            ValueError: a figure, or a number of the planner, does not exist.
        """
        body = self._body(slide)
        source = " · ".join(filter(None, [slide.source, *self._sources(slide)]))
        if slide.kind == "title" and not paper:
            source = HINT
        live = "".join(
            f'<a class="live" href="{html.escape(target)}">{html.escape(words)}</a>'
            for words, target in slide.live
        )
        heading = "h1" if slide.kind == "title" else "h2"
        result = f"""<section id="slide-{slide.number}" class="{slide.kind}" \
data-timing="{round(slide.minutes * 60)}">
<div class="frame">
<header><p class="part">{html.escape(slide.part)}</p>{live}
<{heading}>{self._inline(slide.title)}</{heading}></header>
<div class="body">{body}</div>
<footer><p class="source">{self._inline(source)}</p><p class="number">{slide.number}</p></footer>
<div class="bar" style="width:{100 * slide.number / len(self.slides):.2f}%"></div>
</div>"""
        if paper:
            result = re.sub(r'<a (class="live" )?href="(?!#)[^"]*">(.*?)</a>', _words, result)
        else:
            result = re.sub(r'href="(?!#|\w+:)', 'href="../', result)  # it lies in slides/out
            notes = self._markdown.render(self._filled(slide.notes, slide))
            minutes = f"{slide.minutes:g} min"
            result += f'\n<aside class="notes"><p><strong>{minutes}</strong></p>{notes}</aside>'
        return result + "</section>"

    def _body(self, slide: Slide) -> str:
        text = self._filled(slide.body, slide)
        for name in slide.figures:
            if not drawn.picture(name).is_file():
                self._miss(slide, f"figure {name} is missing")
                text = text.replace(f"![](figures/{name}.svg)", f"figure `{name}` is missing")
        result = self._markdown.render(text)
        if slide.kind == "section":
            items = "".join(
                f"<li{' class=now' if part == slide.part else ''}>{html.escape(part)}</li>"
                for part in self._parts
            )
            result += f'<ol class="parts">{items}</ol>'
        return result

    def _sources(self, slide: Slide) -> list[str]:
        return [drawn.load(name).SOURCE for name in slide.figures if drawn.picture(name).is_file()]

    def _filled(self, text: str, slide: Slide) -> str:
        def value(found: re.Match[str]) -> str:
            known = planned.values()
            if found[1] not in known:
                raise ValueError(
                    f"slide {slide.number}, line {slide.line}: there is no {found[0]}: "
                    f"planned.py has {', '.join(known)}"
                )
            return known[found[1]]

        return PERCENT.sub("\\1\u00a0%", BRACES.sub(value, text))

    def _inline(self, text: str) -> str:
        return self._markdown.renderInline(text)

    def _miss(self, slide: Slide, why: str) -> None:
        where = f"slide {slide.number}, line {slide.line}: {why}"
        if not self.draft:
            raise ValueError(f"{where}: draw it, `python -m slides.figures`")
        self.warnings.append(where)

    def _document(self, styles: str, body: str) -> str:
        title = html.escape(self.slides[0].title)
        theme = (FOLDER / "theme.css").read_text(encoding="utf-8")
        return f"""<!doctype html>
<html lang="en">
<!--
{packages.licences().replace("--", "- -")}
-->
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{packages.font_faces()}
{styles}
{theme}
</style>
</head>
<body>
{body}
</body>
</html>
"""


def _formula(latex: str, options: dict[str, bool]) -> str:
    display = "block" if options["display_mode"] else "inline"
    return latex2mathml.converter.convert(latex, display=display)


def _image(renderer, tokens, index, options, env) -> str:  # markdown-it's signature
    token = tokens[index]
    source, words = str(token.attrs["src"]), token.content
    if found := FIGURE.fullmatch(f"![]({source})"):
        words = drawn.load(found[1]).ALT
    if not words:
        raise ValueError(f"picture {source} has no words for who cannot see it: ![words]({source})")
    path = FOLDER / source
    if not path.is_file():
        raise ValueError(f"there is no picture {source}")
    kind = {".svg": "svg+xml", ".png": "png"}[path.suffix]
    data = base64.b64encode(path.read_bytes()).decode()
    alt = html.escape(" ".join(words.split()), quote=True)
    return f'<img alt="{alt}" src="data:image/{kind};base64,{data}">'


def _words(link: re.Match[str]) -> str:
    return f'<span class="live">{link[2]}</span>' if link[1] else link[2]


def _script(text: str) -> str:
    """Return a script that cannot end the element which it stands in."""
    return text.replace("</script", "<\\/script")
