"""The same model on the same eight GPUs, cut in different ways: what one GPU has to hold.

The model of 18.4 billion parameters of the lecture's table (Narayanan et al. 2021,
arXiv:2104.04473, Table 1), micro-batches of one sequence, everything recomputed; state and peak by
course_lib.plan.memory. A tenth of the GPU is left to CUDA and NCCL, as everywhere in the planner.
ZeRO 1, 2, 3: Rajbhandari et al. 2020 (arXiv:1910.02054), section 5.
"""

import dataclasses
from typing import Any

from matplotlib.figure import Figure

from course_lib.config import RunConfig
from course_lib.plan.candidates import FREE_SHARE
from course_lib.plan.hardware import find_hardware
from course_lib.plan.memory import peak_bytes, state_bytes
from course_lib.plan.models import planned_run
from slides.figures.memory_states import COLOURS, NAMES
from slides.figures.style import BLUE, GREEN, INK, ORANGE, new_axes

ALT = (
    "Six bars for 18.4 billion parameters on eight GPUs. Data parallelism alone needs 369 GB on "
    "each, ZeRO 1 134 GB, ZeRO 2 78 GB, ZeRO 3 46 GB, tensor parallelism 46 GB, pipeline "
    "parallelism 53 GB; a GPU has 80 GB."
)
SOURCE = "course_lib.plan.memory; ZeRO as in Rajbhandari et al. 2020 (arXiv:1910.02054), section 5"

NUM_GPUS = 8
WAYS: dict[str, dict[str, Any]] = {
    "dp 8": {},
    "ZeRO 1": {"zero": 1},
    "ZeRO 2": {"zero": 2},
    "ZeRO 3": {"zero": 3},
    "tp 8": {"tp": 8},
    "pp 8": {"pp": 8},
}


def planned(**layout: Any) -> RunConfig:
    """Return the run with its layout."""
    run = planned_run("gpt_18_4b")
    return dataclasses.replace(
        run,
        layout=dataclasses.replace(run.layout, recompute="full", **layout),
        train=dataclasses.replace(run.train, micro_batch=1),
    )


def draw() -> Figure:
    figure, axes = new_axes()
    bold: dict[str, Any] = {"va": "center", "fontweight": "bold"}
    capacity = find_hardware("a100-80gb").memory_bytes / 1e9
    for place, layout in enumerate(WAYS.values()):
        run = planned(**layout)
        below = 0.0
        for owner, num_bytes in state_bytes(run, NUM_GPUS).items():
            style = {"color": COLOURS[owner], "label": NAMES[owner] if place == 0 else None}
            axes.barh(place, num_bytes / 1e9, left=below, height=0.72, **style)
            below += num_bytes / 1e9
        peak = peak_bytes(run, NUM_GPUS) / 1e9
        style = {"color": GREEN, "label": "for a moment, and activations" if place == 0 else None}
        axes.barh(place, peak - below, left=below, height=0.72, **style)
        colour, words = BLUE, "fits"
        if peak > (1 - FREE_SHARE) * capacity:
            colour, words = ORANGE, "too much" if peak > capacity else "too tight"
        at = max(peak, capacity) + 5
        axes.text(at, place, f"{peak:.0f} GB, {words}", color=colour, **bold)
    axes.axvline(capacity, color=INK, linestyle="--")
    axes.text(capacity + 5, len(WAYS) - 0.35, "80 GB, an A100", va="center")
    axes.set_yticks(range(len(WAYS)), list(WAYS))
    axes.set(xlim=(0, 470), ylim=(len(WAYS) - 0.1, -0.5))
    axes.set_xlabel("memory of one of 8 GPUs (GB)")
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 0.06))
    return figure
