"""What to train for a task: nothing, a few vectors in front of the text, or all weights.

Bars: answers right of the two-layer miniature of few_shot.py, on a rule that it has learned among
others and on one that it has never seen. The text has no name of a rule, and but for the second bar
no example either. Lester et al. 2021 (arXiv:2104.08691, figure 1) compare the same three ways on
models up to 11 billion parameters. Data: slides/data/prompt_tuning.json, which `python -m
slides.miniatures` measures; course_lib/train/prompt_tuning.py has the method.
"""

import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from slides.figures.style import BLUE, GREEN, GREY, INK, new_figure

DATA = Path(__file__).resolve().parents[1] / "data" / "prompt_tuning.json"
ALT = (
    "Bars of right answers, for a rule that the model knows and for a new one. The known rule: 16 "
    "percent from the question alone, 92 with five examples, and nearly all with a single trained "
    "vector of 48 numbers, as with all 62,640 weights. The new rule: 1 percent with five examples, "
    "12 to 80 with 1 to 16 trained vectors, and nearly all only with all weights."
)
SOURCE = (
    "Measured: slides/data/prompt_tuning.json, python -m slides.miniatures. After Lester et al. "
    "2021, arXiv:2104.08691, figure 1"
)
TITLES = {"reverse": "a rule it knows", "swap inner": "a rule it has never seen"}
COLOURS = {"examples": GREY, "prompt": BLUE, "weights": GREEN}
SHOWN = (("examples", 0), ("examples", 5), ("prompt", 1), ("prompt", 4), ("prompt", 16))


def words(row: dict[str, Any]) -> str:
    """Return what stands beside a bar."""
    size, trained = row["size"], f"{row['trained']:,} numbers"
    if row["kind"] == "examples":
        return f"{size} examples in the prompt" if size else "only the question"
    if row["kind"] == "weights":
        return f"all weights: {trained}"
    return f"{size} vector{'s' * (size > 1)}: {trained}"


def draw() -> Figure:
    figure = new_figure()
    panels = figure.subplots(1, len(TITLES), sharey=True)
    rows = json.loads(DATA.read_text())["rows"]
    for axes, (task, title) in zip(panels, TITLES.items(), strict=True):
        shown = [
            row
            for row in rows
            if row["task"] == task
            and (row["kind"] == "weights" or (row["kind"], row["size"]) in SHOWN)
        ]
        for place, row in enumerate(shown):
            right = 100 * row["right"]
            axes.barh(place, right, height=0.68, color=COLOURS[row["kind"]])
            axes.annotate(
                f"{right:.3g} %",
                (right, place),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                color=INK,
            )
        axes.set_yticks(range(len(shown)), [words(row) for row in shown])
        axes.set_xlim(0, 122)
        axes.set_xticks([0, 50, 100])
        axes.set_xlabel("answers right (%)")
        axes.annotate(
            title, (0, 1), xycoords="axes fraction", xytext=(0, 8), textcoords="offset points"
        )
        axes.grid(visible=False, axis="y")
    panels[0].invert_yaxis()
    return figure
