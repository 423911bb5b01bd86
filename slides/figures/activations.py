"""Activations beside the state, for three ways to keep them, on one GPU.

Korthikanti et al. 2022 (arXiv:2205.05198), Table 2, for the four models and layouts of their Table
3 (tp 8; pp 1, 8, 35, 64), summed by course_lib.plan.owners: within 3 % of their Figure 1. Attention
is not fused and dropout's masks are kept, as in their program; the state has 18 bytes a parameter,
as gradients are float32 there.
"""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from course_lib.config import ModelConfig
from course_lib.plan.candidates import Request, cases_of
from course_lib.plan.cases import FULL, NONE, SELECTIVE
from course_lib.plan.hardware import find_hardware
from course_lib.plan.owners import bytes_by_owner
from course_lib.plan.published import SEQ_LEN, VOCAB_SIZE
from course_lib.plan.software import find_software
from slides.figures.style import BLUE, GREEN, GREY, INK, ORANGE, YELLOW, new_axes

ALT = (
    "For 22B to 1T parameters, memory of a GPU: state about 35 to 47 GiB; activations add 59 to "
    "134 GiB if all are kept, far over the 80 GB of an A100, 10 to 27 if attention is computed "
    "again and the sequence is cut, and 5 to 16 if all is."
)
SOURCE = (
    "Korthikanti et al. 2022 (arXiv:2205.05198), Tables 2 and 3; computed by course_lib.plan.owners"
)

GIB = 2**30
MODELS = {
    "22B": (64, 6144, 48, 1, 4, 1),
    "175B": (96, 12288, 96, 8, 1, 3),
    "530B": (128, 20480, 105, 35, 1, 3),
    "1T": (160, 25600, 128, 64, 1, 1),
}
"""Heads, d_model, layers, pp, micro-batch, virtual stages."""
TP = 8
WAYS = (
    ("keep all activations", NONE, False, ORANGE, ""),
    ("compute attention again, cut the sequence (sp)", SELECTIVE, True, YELLOW, "//"),
    ("compute all again", FULL, False, GREEN, ".."),
)
"""Words, what is recomputed, sequence parallelism, colour, hatch."""


def state_and_activations(name: str) -> tuple[float, list[float]]:
    """Return the bytes of a model's state on a GPU, and of its activations in each of WAYS."""
    num_heads, d_model, num_layers, pp, micro_batch, virtual_stages = MODELS[name]
    model = ModelConfig(
        vocab_size=VOCAB_SIZE,
        seq_len=SEQ_LEN,
        num_layers=num_layers,
        num_heads=num_heads,
        d_model=d_model,
    )
    request = Request(
        model=model,
        num_gpus=TP * pp,
        hardware=find_hardware("a100-80gb"),
        global_batch=8 * pp * micro_batch,
        grad_dtype="float32",
        software=find_software("megatron-2022"),
    )
    cases = cases_of(
        request,
        dp=np.array(1),
        pp=np.array(pp),
        tp=np.array(TP),
        virtual_stages=np.array(virtual_stages),
        micro_batch=np.array(micro_batch),
        sp=np.array([way[2] for way in WAYS]),
        zero=np.array(0),
        recompute=np.array([way[1] for way in WAYS]),
    )
    held = bytes_by_owner(cases)
    state = held.weights + held.gradients + held.master + held.optimizer
    return float(np.ravel(state)[0]), held.activations.tolist()


def draw() -> Figure:
    figure, axes = new_axes()
    bold: dict[str, Any] = {"ha": "center", "fontweight": "bold"}
    bold["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    for group, name in enumerate(MODELS):
        state, activations = state_and_activations(name)
        for bar, ((words, *_, colour, hatch), kept) in enumerate(
            zip(WAYS, activations, strict=True)
        ):
            x = group + 0.28 * (bar - 1)
            label = words if group == 0 else None
            style = {"width": 0.26, "color": colour, "hatch": hatch, "edgecolor": "white"}
            axes.bar(x, state / GIB, width=0.26, color=BLUE, label="state" if x < -0.2 else None)
            axes.bar(x, kept / GIB, bottom=state / GIB, label=label, **style)
            axes.text(x, (state + kept) / GIB + 3, f"+{kept / GIB:.0f}", **bold)
    capacity = find_hardware("a100-80gb").memory_bytes / GIB
    axes.axhline(capacity, color=INK, linestyle="--", linewidth=2)
    axes.text(3.72, capacity + 2, "80 GB", ha="right", color=INK)
    axes.set_xticks(range(len(MODELS)), list(MODELS))
    axes.set(xlim=(-0.5, 3.72), ylim=(0, 215))
    axes.set_xlabel("parameters")
    axes.set_ylabel("memory of a GPU (GiB)")
    axes.grid(axis="x", visible=False)
    axes.tick_params(axis="x", length=0, color=GREY)
    axes.legend(loc="upper left", ncols=2, handlelength=1.4, columnspacing=1.2)
    return figure
