"""A lecture as text: slides between lines of `---`, each checked as it is read.

A slide is a title, what is to be known of it, what is shown, where it is from, what is said:

    # Networks grew a thousandfold in two years
    minutes: 1.5
    covers: growth of networks; size of models by year
    live: [Lab 02, part 8](../labs/02_gpt_pretraining/02_gpt_pretraining.ipynb)

    ![](figures/model_growth.svg)

    Source: Brown et al. 2020, table 2.1
    Notes:
    What the instructor says.

`part:` begins a part of the lecture, which lasts until the next. `covers:` names parts of the
outline (outline.py). `kind:` is how a slide looks (theme.css); without it, `text`. A figure of
slides/figures brings its own source and alternative text.
"""

import re
from dataclasses import dataclass
from pathlib import Path

KINDS = ("text", "title", "section", "statement", "dense")
KEYS = ("part", "kind", "minutes", "covers", "live")
FIGURE = re.compile(r"!\[\]\(figures/(\w+)\.svg\)")
LINK = re.compile(r"\[([^\]]+)\]\(([^)\s]+)\)")


@dataclass(frozen=True, kw_only=True)
class Slide:
    """One slide."""

    number: int
    line: int
    """Of the title, in the text."""
    title: str
    part: str
    kind: str
    minutes: float
    covers: tuple[str, ...]
    live: tuple[tuple[str, str], ...]
    """Words and target of each link to what can be run."""
    body: str
    """Markdown."""
    source: str
    notes: str

    @property
    def figures(self) -> list[str]:
        """Return the names of the figures that it shows."""
        return FIGURE.findall(self.body)


def read_deck(path: Path) -> list[Slide]:
    """Return the slides of a lecture.

    Raises:
        ValueError: the text is no lecture: file, line and remedy.
    """
    if not path.is_file():
        raise ValueError(f"there is no lecture {path}")
    slides: list[Slide] = []
    begin, part, block = 1, "", list[str]()
    for number, line in enumerate([*path.read_text(encoding="utf-8").splitlines(), "---"], 1):
        if line.rstrip() != "---":
            block.append(line)
            continue
        slide = _slide(block, path.name, begin, len(slides) + 1, part)
        slides.append(slide)
        begin, part, block = number + 1, slide.part, []
    return slides


def _slide(block: list[str], name: str, begin: int, number: int, part: str) -> Slide:
    at = next((i for i, line in enumerate(block) if line.strip()), 0)

    def wrong(offset: int, why: str) -> ValueError:
        return ValueError(f"{name}, line {begin + offset}: {why}")

    if not block or not block[at].startswith("# "):
        raise wrong(at, "a slide begins with its title: `# Title`")
    values: dict[str, str] = {}
    below = at + 1
    while below < len(block) and (found := re.match(r"(\w+): *(.*)$", block[below])):
        key, value = found.groups()
        if key not in KEYS:
            raise wrong(below, f"{key!r} is none of {', '.join(KEYS)}; text follows an empty line")
        values[key] = value.strip()
        below += 1
    try:
        minutes = float(values.get("minutes", ""))
    except ValueError:
        raise wrong(at, "write how long it is shown, such as `minutes: 1.5`") from None
    kind = values.get("kind", "text")
    if kind not in KINDS:
        raise wrong(at, f"kind {kind!r} is none of {', '.join(KINDS)}")
    text = "\n".join(block[below:])
    shown, mark, notes = text.partition("\nNotes:\n")
    if not mark or not notes.strip():
        raise wrong(at, "write what is said, below a line `Notes:`")
    body, _, source = shown.partition("\nSource:")
    return Slide(
        number=number,
        line=begin + at,
        title=block[at][2:].strip(),
        part=values.get("part", part),
        kind=kind,
        minutes=minutes,
        covers=tuple(each.strip() for each in values.get("covers", "").split(";") if each.strip()),
        live=tuple(LINK.findall(values.get("live", ""))),
        body=body.strip(),
        source=" ".join(source.split()),
        notes=notes.strip(),
    )
