"""How long four models of the lecture's table would train on one DGX A100 and on four.

FLOPs of a step by equation (3) of Narayanan et al. 2021 (arXiv:2104.04473), at the FLOP/s that each
GPU reached in their Table 1, for 300 billion tokens as GPT-3 saw. The lecture's rounded numbers (6
and 65 weeks, 5 and 69 years on one DGX) come out of the paper's shorter estimate 8 T P / (n X) (its
section 5.1) with T = 300 billion tokens and X = 140 TFLOP/s: 6.0 and 65 weeks, 5.2 and 68 years,
where the third model is the one of 76 billion. Left out on purpose: whether the model fits.
"""

from matplotlib.figure import Figure

from course_lib.plan.models import TOKENS
from course_lib.plan.published import NARAYANAN_2021, SEQ_LEN, PublishedRun
from slides.figures.style import BLUE, GREY, LARGE_PT, ORANGE, log_ticks, new_axes

ALT = (
    "Dots on a logarithmic time axis: 1.7 billion parameters take about 7 weeks on one DGX A100 "
    "and 2 on four; 18 billion 1.4 years; 76 billion 5 years; a trillion 60 years on one and 15 on "
    "four."
)
SOURCE = (
    "Narayanan et al. 2021 (arXiv:2104.04473), eq. (3) at the TFLOP/s of Table 1; 300 billion "
    "tokens; as if memory were no limit"
)

ROWS = (0, 3, 5, 9)
GPUS_OF_A_DGX = 8
WEEK, YEAR = 7.0, 365.25
"""Days."""


def days(row: PublishedRun, num_dgx: int) -> float:
    """Return the days that 300 billion tokens take."""
    steps = TOKENS / (row.global_batch * SEQ_LEN)
    flops_per_s = num_dgx * GPUS_OF_A_DGX * row.flops_per_gpu
    return steps * row.step_flops / flops_per_s / 86_400


def in_words(number: float) -> str:
    """Return days in the unit that one would say."""
    value, unit = (number / YEAR, "years") if number > YEAR else (number / WEEK, "weeks")
    return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"


def draw() -> Figure:
    figure, axes = new_axes()
    for place, row in enumerate(NARAYANAN_2021[index] for index in ROWS):
        slow, fast = days(row, 1), days(row, 4)
        axes.plot([fast, slow], [place, place], color=GREY, linewidth=5, zorder=1)
        for took, colour, marker, side in ((slow, BLUE, "o", "left"), (fast, ORANGE, "s", "right")):
            axes.plot(took, place, marker, color=colour, markersize=20)
            at = took * 1.3 if side == "left" else took / 1.3
            text = {"color": colour, "fontsize": LARGE_PT, "fontweight": "bold", "va": "center"}
            axes.text(at, place, in_words(took), ha=side, **text)
            if place == 0:
                name = "1 DGX A100: 8 GPUs" if took == slow else "4 DGX A100"
                axes.text(at, -0.5, name, ha=side, color=colour, va="center")
    axes.set_yticks(range(len(ROWS)), [NARAYANAN_2021[index].name for index in ROWS])
    marks = {
        "1 day": 1,
        "1 week": WEEK,
        "1 month": YEAR / 12,
        "1 year": YEAR,
        "10 years": 10 * YEAR,
    }
    log_ticks(axes.xaxis, [*marks.values(), 100 * YEAR], [*marks, "100 years"])
    axes.set(xlim=(1, 900 * YEAR), ylim=(len(ROWS) - 0.5, -0.8))
    axes.set_xlabel("training time (logarithmic)")
    axes.set_ylabel("parameters")
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    return figure
