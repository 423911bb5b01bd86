"""Parameters of neural networks over the years, and what one GPU can train.

Sizes as their papers give them: AlexNet (Krizhevsky et al. 2012, abstract), Transformer (big;
Vaswani et al. 2017, table 3), BERT-large (Devlin et al. 2018, section 3), GPT-2 (Radford et al.
2019), Megatron-LM (Shoeybi et al. 2019), GPT-3 (Brown et al. 2020), Switch (Fedus et al. 2021),
MT-NLG (Smith et al. 2022), Llama 3.1 (Grattafiori et al. 2024), DeepSeek-V3 (2024), Kimi K2 (2025).
Of a mixture of experts all parameters count, though each token uses few of them. A GPU's line is
its memory by plan/hardware.py, drawn at its announcement, over 16 bytes of weight, gradient and
Adam state a parameter: no activations.
"""

from matplotlib.figure import Figure

from course_lib.plan.hardware import find_hardware
from slides.figures.style import BLUE, GREEN, ORANGE, log_ticks, name_line, new_axes

ALT = (
    "Parameters over the years, 2012 to 2026: from 60 million to a trillion, most of it between "
    "2018 and 2021. What fits one GPU grew only from 2 to 11 billion in the same years."
)
SOURCE = (
    "the papers of the models (slides/figures/model_growth.py); GPU memory: data sheets, "
    "16 bytes a parameter"
)

DENSE = (
    # name, year, parameters, where its name goes: points right and up
    ("AlexNet", 2012.9, 60e6, (0, 16)),
    ("Transformer", 2017.45, 213e6, (-12, 8)),
    ("BERT", 2018.78, 340e6, (12, -4)),
    ("GPT-2", 2019.12, 1.5e9, (12, -8)),
    ("Megatron-LM", 2019.7, 8.3e9, (-12, 6)),
    ("GPT-3", 2020.4, 175e9, (-12, 6)),
    ("MT-NLG", 2022.08, 530e9, (0, -20)),
    ("Llama 3.1", 2024.56, 405e9, (0, -20)),
)
EXPERTS = (
    ("Switch", 2021.03, 1.6e12, (-12, 6)),
    ("DeepSeek-V3", 2024.98, 671e9, (-12, 10)),
    ("Kimi K2", 2025.55, 1.04e12, (0, 20)),
)
GPUS = (
    ("v100-32gb", 2018.24),
    ("a100-80gb", 2020.88),
    ("h200-141gb", 2023.87),
    ("b200-180gb", 2024.21),
)
BYTES_PER_PARAMETER = 16
END = 2026.2


def draw() -> Figure:
    """Draw models as points, and the largest GPU of its time as steps."""
    figure, axes = new_axes()
    for models, marker, colour in ((DENSE, "o", BLUE), (EXPERTS, "D", ORANGE)):
        for name, year, parameters, (right, up) in models:
            axes.plot(year, parameters, marker, color=colour, markersize=11)
            side = "left" if right > 0 else "right" if right < 0 else "center"
            name_line(axes, name, (year, parameters), colour, xytext=(right, up), ha=side)
    fits = [find_hardware(name).memory_bytes / BYTES_PER_PARAMETER for name, _ in GPUS]
    years = [year for _, year in GPUS]
    axes.step([*years, END], [*fits, fits[-1]], where="post", color=GREEN, linewidth=4)
    name_line(axes, "fits one GPU in training", (END, fits[-1]), GREEN, xytext=(0, -52), ha="right")
    for up, colour, words in (
        (0.96, BLUE, "\N{BLACK CIRCLE} a token uses every parameter"),
        (0.86, ORANGE, "\N{BLACK DIAMOND} a token uses a few experts"),
    ):
        axes.text(0.02, up, words, color=colour, transform=axes.transAxes, va="top")
    ticks = ["100 million", "1 billion", "10 billion", "100 billion", "1 trillion"]
    log_ticks(axes.yaxis, [1e8, 1e9, 1e10, 1e11, 1e12], ticks)
    axes.set_ylim(3e7, 5e12)
    axes.set_xlim(2012, END)
    axes.set_xticks(range(2012, 2027, 2))
    axes.set_xlabel("year")
    axes.set_ylabel("parameters")
    return figure
