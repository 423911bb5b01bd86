"""What recomputation saves and costs: memory kept by a layer against its time, five ways.

Times: Korthikanti et al. 2022 (arXiv:2205.05198), Table 4, a layer of their 22B model (64 heads,
d_model 6144, sequences of 2048, micro-batch 4) on 8 A100 with tp 8. Memory: their Table 2 by
course_lib.plan.owners. Recomputing all repeats the forward pass, 7.7 of 19.6 ms.
"""

import numpy as np
from matplotlib.figure import Figure

from course_lib.config import ModelConfig
from course_lib.plan.candidates import Request, cases_of
from course_lib.plan.cases import FULL, NONE, SELECTIVE
from course_lib.plan.hardware import find_hardware
from course_lib.plan.owners import layer_bytes
from course_lib.plan.published import SEQ_LEN, VOCAB_SIZE
from course_lib.plan.software import find_software
from slides.figures.style import BLUE, GREEN, GREY, INK, ORANGE, name_line, new_axes

ALT = (
    "Time added to a layer against the memory it keeps: 1264 MiB if all is kept; computing all "
    "again leaves 96 MiB and takes 39 % longer; computing only attention again, with the sequence "
    "cut, leaves 204 MiB and takes 4 % longer."
)
SOURCE = "Korthikanti et al. 2022 (arXiv:2205.05198), Table 4 (times) and Table 2 (memory)"

MICRO_BATCH, TP = 4, 8
WAYS = (
    ("keep all", NONE, False, 19.6, GREY, (20, 34), "right"),
    ("sp, keep all", NONE, True, 19.0, GREY, (0, -38), "center"),
    ("attention again", SELECTIVE, False, 20.9, BLUE, (0, 36), "center"),
    ("attention again, sp", SELECTIVE, True, 20.3, GREEN, (0, -44), "left"),
    ("all again", FULL, False, 27.2, ORANGE, (20, 0), "left"),
)
"""Words, what is recomputed, sequence parallelism, ms forward and backward, and how it is named."""


def kept_bytes() -> list[float]:
    """Return the bytes that the layer keeps on a GPU in each of WAYS."""
    model = ModelConfig(
        vocab_size=VOCAB_SIZE, seq_len=SEQ_LEN, num_layers=48, num_heads=64, d_model=6144
    )
    request = Request(
        model=model,
        num_gpus=TP,
        hardware=find_hardware("a100-80gb"),
        global_batch=MICRO_BATCH,
        software=find_software("megatron-2022"),
    )
    cases = cases_of(
        request,
        dp=np.array(1),
        pp=np.array(1),
        tp=np.array(TP),
        virtual_stages=np.array(1),
        micro_batch=np.array(MICRO_BATCH),
        sp=np.array([way[2] for way in WAYS]),
        zero=np.array(0),
        recompute=np.array([way[1] for way in WAYS]),
    )
    return layer_bytes(cases, cases.recompute).tolist()


def draw() -> Figure:
    figure, axes = new_axes()
    base_s = WAYS[0][3]
    for (words, _, _, took, colour, shift, side), kept in zip(WAYS, kept_bytes(), strict=True):
        mib, more = kept / 2**20, took / base_s - 1
        axes.plot(mib, 100 * more, "o", color=colour, markersize=20, zorder=3)
        cost = f"{mib:.0f} MiB, {more:+.0%}" if more else f"{mib:.0f} MiB, {took} ms"
        name_line(axes, f"{words}\n{cost}", (mib, 100 * more), colour, xytext=shift, ha=side)
    axes.axhline(0, color=INK, linewidth=1.2)
    axes.set(xlim=(0, 1400), ylim=(-17, 48))
    axes.set_xlabel("activations that a layer keeps on a GPU (MiB)")
    axes.set_ylabel("time added to a layer (%)")
    return figure
