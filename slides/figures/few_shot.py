"""Answers right by number of examples in the prompt: three GPTs, with the rule's name and without.

Our own miniature of figure 1.2 of Brown et al. 2020 (arXiv:2005.14165), which has the same axes for
models of 1.3, 13 and 175 billion parameters. Data: slides/data/few_shot.json, which `python -m
slides.miniatures` measures; course_lib/train/few_shot.py has the task. Chance is left out: an
answer that is wrong in one of its four letters is wrong.
"""

import json
from pathlib import Path

from matplotlib.figure import Figure

from slides.figures.style import BLUE, GREEN, ORANGE, name_line, new_axes

DATA = Path(__file__).resolve().parents[1] / "data" / "few_shot.json"
ALT = (
    "Right answers over 0 to 5 examples in the prompt. Told neither rule nor example, three small "
    "models guess, about 20 percent. With two layers, 48 wide, one example makes it 71 percent and "
    "five make it 97; one layer of that width, or two of 16, stay below 40. Told the rule's name, "
    "both models that are 48 wide are right nearly always."
)
SOURCE = (
    "Measured: slides/data/few_shot.json, python -m slides.miniatures. After Brown et al. 2020, "
    "arXiv:2005.14165, figure 1.2"
)
STYLES = ((BLUE, "o", 0), (ORANGE, "s", 24), (GREEN, "^", -24))
"""Colour, marker, and how far above the line's end its name stands (points)."""


def draw() -> Figure:
    figure, axes = new_axes()
    rows = json.loads(DATA.read_text())["rows"]
    for row, (colour, marker, above) in zip(rows, STYLES, strict=True):
        examples = range(len(row["without_name"]))
        named = [100 * right for right in row["with_name"]]
        alone = [100 * right for right in row["without_name"]]
        axes.plot(examples, named, "--", color=colour, linewidth=1.8, alpha=0.8)
        axes.plot(examples, alone, color=colour, marker=marker, clip_on=False)
        words = f"{row['name']}\n{row['parameters'] / 1000:.0f} thousand parameters"
        name_line(axes, words, (examples[-1], alone[-1]), colour, xytext=(10, above))
    axes.text(0, 103, "dashed: with the rule's name in front")
    axes.set_xlabel("examples in the prompt")
    axes.set_ylabel("answers right (%)")
    axes.set_ylim(0, 112)
    axes.set_yticks(range(0, 101, 20))
    axes.set_xlim(-0.1, 5)
    return figure
