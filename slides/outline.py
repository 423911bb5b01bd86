"""What the lecture has to cover, and the map from it to slides and to what can be run.

The outline is that of the workshop's first lecture, part by part, in its order. A slide names in
`covers:` what it covers, and in `live:` the labs, live cells or commands that it leads to. MAP.md
is written by the build, and a test holds it against the slides.
"""

from collections.abc import Sequence
from pathlib import Path

from slides.deck import Slide

MAP = Path(__file__).resolve().parent / "MAP.md"
VIDEO = " (video)"
OUTLINE = (
    "agenda of the day",
    "part 1: lecture and lab",
    "growth of neural networks",
    "dramatic increase in model sizes",
    "why: the scaling laws",
    "history: limited by labelled data",
    "cost of labels",
    "hard limit of labels: driving",
    "hard limit of labels: radiology",
    "success of unsupervised learning",
    "scaling laws: language",
    "scaling laws: vision",
    "scaling laws: speech",
    "scaling laws: generative models",
    "the cost of training",
    "worth it? the cost of incremental improvement",
    "only for an incremental improvement?",
    "beyond accuracy",
    "few-shot learning",
    "prompt design: translation",
    "prompt engineering (video)",
    "beyond prompt design",
    "prompt tuning against fine-tuning",
    "implications in software development",
    "use cases: hundreds of applications",
    "capabilities, first (video)",
    "capabilities, second (video)",
    "capabilities: code, jokes, mathematics",
    "capabilities, third (video)",
    "vision: MAGMA",
    "vision: labels from text",
    "speech recognition",
    "chemistry: drug discovery",
    "biology: ProtTrans",
    "part: impact on the AI landscape",
    "old way and new way",
    "new approach: train a huge model, then ask",
    "part: challenges",
    "execution time: the formula",
    "scale of compute: the table",
    "days on one and on four DGX A100",
    "no way around it",
    "predictability: IsoFLOP",
    "consistent across domains",
    "key challenge: bottlenecks",
    "the transformer as large models use it",
    "complexity of distributed execution",
    "software landscape",
    "systems: DGX SuperPOD",
    "scale proven in the field",
    "systems: Meta's research cluster",
    "part: memory reduction",
    "going bigger: one billion parameters",
    "distribution",
    "mixed precision: FP32, FP16, FP8",
    "activation checkpointing",
    "offloading",
    "part: tools of the lab",
    "Megatron-LM",
    "NeMo-Megatron on a SuperPOD",
    "NeMo-Megatron toolkit",
    "inference: lecture 3 and its lab",
    "inside the software stack",
    "Megatron-LM against NeMo-Megatron",
    "lab 1, part 1: overview",
    "next: advanced concepts",
)


def coverage_map(slides: Sequence[Slide]) -> str:
    """Return the map as Markdown.

    Raises:
        ValueError: a part is not covered, or a slide covers what the outline does not have.
    """
    covered = [name for slide in slides for name in slide.covers]
    if unknown := [name for name in covered if name not in OUTLINE]:
        raise ValueError(f"not in the outline (outline.py): {'; '.join(unknown)}")
    if left := [name for name in OUTLINE if name not in covered]:
        raise ValueError(f"no slide covers: {'; '.join(left)}")
    lines = [
        "# What the slides cover",
        "",
        "Written by `make slides` from lecture1.md and outline.py.",
        "",
        "| part of the lecture | slides | live cell, lab or command |",
        "|---|---|---|",
    ]
    for name in OUTLINE:
        here = [slide for slide in slides if name in slide.covers]
        numbers = ", ".join(str(slide.number) for slide in here)
        links = dict.fromkeys(link for slide in here for link in slide.live)
        leads = "; ".join(f"[{words}]({target})" for words, target in links) or "-"
        lines.append(f"| {name} | {numbers} | {leads} |")
    minutes = sum(slide.minutes for slide in slides)
    return "\n".join([*lines, "", f"{len(slides)} slides, {minutes:g} minutes.", ""])


def write(slides: Sequence[Slide]) -> None:
    """Write MAP.md, if it says something else.

    Raises:
        ValueError: as `coverage_map`.
    """
    text = coverage_map(slides)
    if not MAP.is_file() or MAP.read_text(encoding="utf-8") != text:
        MAP.write_text(text, encoding="utf-8")
