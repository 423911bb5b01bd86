"""What one training run of known models costs on rented A100s.

FLOPs are 6 N D (Kaplan et al. 2020, section 2.1) with N and D of the papers: GPT-3, MT-NLG and
Chinchilla (Hoffmann et al. 2022, table 1), PaLM (Chowdhery et al. 2022: 540 billion, 780 billion
tokens), DeepSeek-V3 (2024: 37 billion active parameters, 14.8 trillion tokens), Llama 3.1
(Grattafiori et al. 2024: 405 billion, 15.6 trillion tokens). Peak and price of a GPU-hour, low to
high, are those of plan/hardware.py. Assumed: 40 % of the peak. Failed runs, people, data and
storage are not in it.
"""

from typing import Any

from matplotlib.figure import Figure

from course_lib.plan.hardware import find_hardware
from course_lib.plan.scaling import FLOPS_PER_PARAMETER_AND_TOKEN
from slides.figures.style import BLUE, GREY, log_ticks, name_line, new_axes

ALT = (
    "Price of one training run on A100 GPUs, lowest to highest hourly price: a model of 1.3 "
    "billion parameters about a thousand dollars, GPT-3 0.8 to 3.6 million, Llama 3.1 405B 93 to "
    "430 million."
)
SOURCE = (
    "6 N D from the models' papers; A100 80 GB at 40 % of its peak, 1.1 to 5.1 dollars an hour "
    "(list prices 2025)"
)

MODELS = (
    # name, parameters that a token uses, training tokens
    ("1.3B, 20 tokens each", 1.3e9, 26e9),
    ("GPT-3 175B", 175e9, 300e9),
    ("Chinchilla 70B", 70e9, 1.4e12),
    ("MT-NLG 530B", 530e9, 270e9),
    ("PaLM 540B", 540e9, 780e9),
    ("DeepSeek-V3, 37B active", 37e9, 14.8e12),
    ("Llama 3.1 405B", 405e9, 15.6e12),
)
GPU = find_hardware("a100-80gb")
SHARE_OF_PEAK = 0.4


def gpu_hours(flops: float) -> float:
    """Return the GPU-hours of so many FLOPs."""
    return flops / (SHARE_OF_PEAK * GPU.peak_flops_per_s["bf16"]) / 3600


def price_usd(flops: float) -> tuple[float, float]:
    """Return the lowest and the highest price of so many FLOPs, in dollars."""
    low, high = GPU.price_per_hour
    return low * gpu_hours(flops), high * gpu_hours(flops)


def draw() -> Figure:
    """Draw the range of prices of each model, with its GPU-hours."""
    figure, axes = new_axes()
    costs = [(name, FLOPS_PER_PARAMETER_AND_TOKEN * n * d) for name, n, d in MODELS]
    costs.sort(key=lambda cost: cost[1])
    for place, (_, flops) in enumerate(costs):
        low, high = price_usd(flops)
        axes.barh(place, high - low, left=low, color=BLUE, height=0.6)
        hours = f"{in_words(gpu_hours(flops))} GPU-hours"
        left: dict[str, Any] = {"xytext": (-10, 0), "ha": "right", "fontweight": "normal"}
        name_line(axes, hours, (low, place), GREY, **left)
        dollars = f"{in_words(low)} to {in_words(high)} $"
        name_line(axes, dollars, (high, place), BLUE, xytext=(10, 0))
    axes.set_yticks(range(len(costs)), [name for name, _ in costs])
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    ticks = {1e3: "1,000 $", 1e6: "1 million $", 1e9: "1 billion $"}
    log_ticks(axes.xaxis, list(ticks), list(ticks.values()))
    axes.set_xlim(0.3, 3e11)
    axes.set_xlabel("price of one training run, for the lowest to the highest hourly price")
    return figure


def in_words(value: float) -> str:
    """Return a number with two digits, in millions or billions where it is large."""
    for size, name in ((1e9, " G"), (1e6, " M"), (1, "")):
        if value >= size:
            number = float(f"{value / size:.2g}")
            return f"{number:,g}{name}"
    return f"{value:.2g}"
