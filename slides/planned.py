"""Numbers of the slides that the planner works out while they are built, by name.

`{{scale_table}}` on a slide is the table of Narayanan et al. 2021 (arXiv:2104.04473, table 1) with
the planner's step times beside it; `{{gpt3_table}}` what the course's sentence on training GPT-3
means for each GPU. Nothing of it is typed, so a better planner changes the slides.
"""

import dataclasses
from functools import cache

import numpy as np

from course_lib.plan.candidates import Request
from course_lib.plan.cases import Cases
from course_lib.plan.counts import flops_per_token, num_parameters, step_flops
from course_lib.plan.forecast import Forecast, forecasts
from course_lib.plan.hardware import find_hardware
from course_lib.plan.models import GPT3_BATCH, TOKENS, planned_run, published_name
from course_lib.plan.published import NARAYANAN_2021, PublishedRun
from course_lib.plan.search import search
from course_lib.plan.software import find_software
from course_lib.plan.step_time import step_time

DAY_S, YEAR_S = 86_400, 365.25 * 86_400
STATE_BYTES = 16
"""Of a parameter: weight 2, gradient 2, master 4, AdamW's means 8."""
A100 = find_hardware("a100-80gb")
EXAMPLE_GPUS, EXAMPLE_FLOPS_PER_S = 1024, 140e12
"""With which Narayanan et al. 2021 estimate GPT-3's training, section 5.1."""
POD_NODES = 140
CLAIMED_S = {
    "1 V100": ("v100-32gb", 1, "355 years", 355 * YEAR_S),
    "1 DGX A100": ("a100-80gb", 8, "14.8 years", 14.8 * YEAR_S),
    f"{POD_NODES} DGX A100": ("a100-80gb", 8 * POD_NODES, "1 month", 30 * DAY_S),
}
"""What the course says of training GPT-3: GPU, how many, in words, in seconds."""
POD_BATCH = 1680
"""Sequences of a step there: a batch of 1,536 can't be shared out to 1,120 GPUs."""


@cache
def values() -> dict[str, str]:
    """Return each number, or table, as Markdown."""
    model, errors = planned_run("gpt_175b").model, scale_errors()
    step = step_flops(GPT3_BATCH, model.seq_len, model.num_layers, model.d_model, model.vocab_size)
    step_tokens = GPT3_BATCH * model.seq_len
    speed = EXAMPLE_GPUS * EXAMPLE_FLOPS_PER_S
    billion = 10**9 * STATE_BYTES
    return {
        "scale_table": scale_table(),
        "scale_mape": f"{100 * float(np.abs(errors).mean()):.1f} %",
        "scale_worst": f"{100 * float(np.abs(errors).max()):.0f} %",
        "gpt3_table": gpt3_table(),
        "gpt3_state_tb": f"{STATE_BYTES * num_parameters(model) / 1e12:.1f} TB",
        "gpt3_step_flops": _power(step),
        "gpt3_steps": f"{TOKENS / step_tokens:,.0f}",
        "gpt3_step_s": f"{step / speed:.1f} s",
        "gpt3_days": f"{TOKENS / step_tokens * step / speed / DAY_S:.0f} days",
        "gpt3_planned_days": f"{fastest(EXAMPLE_GPUS, GPT3_BATCH).days:.0f} days",
        "billion_state_gib": f"{billion / 2**30:.1f} GiB",
    }


def scale_table() -> str:
    """Return the ten published runs, measured and planned, as a Markdown table."""
    lines = [
        "| model | GPUs | tp | pp | dp | TFLOP/s per GPU | step, paper | step, planner | error |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row, error in zip(NARAYANAN_2021, scale_errors(), strict=True):
        cells = (
            f"**{row.name}**",
            f"{row.num_gpus:,}",
            row.tp,
            row.pp,
            row.dp,
            f"{row.flops_per_gpu / 1e12:.0f}",
            f"{row.step_s:.1f} s",
            f"{row.step_s * (1 + error):.1f} s",
            _percent(100 * error),
        )
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


@cache
def scale_errors() -> tuple[float, ...]:
    """Return planned / published - 1 of each run's step time."""
    return tuple(_planned_s(row) / row.step_s - 1 for row in NARAYANAN_2021)


def gpt3_table() -> str:
    """Return what training GPT-3 asks of each GPU, by the claim, and what the planner finds."""
    flops = flops_per_token(planned_run("gpt_175b").model) * TOKENS
    lines = [
        "| on | said to take | so a GPU does | of peak | the planner |",
        "|:--|--:|--:|--:|:--|",
    ]
    for name, (gpu, gpus, words, seconds) in CLAIMED_S.items():
        hardware = find_hardware(gpu)
        rate = flops / seconds / gpus
        share = rate / hardware.peak_flops_per_s["fp16"]
        room = gpus * hardware.memory_bytes
        state = STATE_BYTES * num_parameters(planned_run("gpt_175b").model)
        if state > room:
            answer = f"{_factor(state / room)} times too small"
        else:
            answer = f"{fastest(gpus, POD_BATCH).days:.0f} days"
        lines.append(
            f"| **{name}** | {words} | {rate / 1e12:.0f} TFLOP/s | {100 * share:.0f} % | {answer} |"
        )
    return "\n".join(lines)


@cache
def fastest(gpus: int, global_batch: int) -> Forecast:
    """Return the fastest layout of GPT-3 on so many A100s, with this course's trainer."""
    run = planned_run("gpt_175b")
    found = search(
        Request(model=run.model, num_gpus=gpus, hardware=A100, global_batch=global_batch)
    )
    best, times = found.best(1)
    (forecast,) = forecasts(found, best, tokens=TOKENS, times=times)
    return forecast


def _planned_s(row: PublishedRun) -> float:
    """Return the planner's seconds of a step, with the program and settings of the paper."""
    software = find_software("megatron-2021")
    run = dataclasses.replace(planned_run(published_name(row)), layout=row.layout)
    cases = Cases.of([(run, row.num_gpus)]).replace(
        fused_attention=np.array(software.fused_attention),
        dropout=np.array(software.dropout),
        grad_bytes=np.array(software.grad_bytes),
    )
    return step_time(cases, A100, software=software).total.item()


def _percent(value: float) -> str:
    """Return a signed percentage; what rounds to 0 has no sign."""
    rounded = round(value, 1)
    return f"{rounded:+.1f} %".replace("-", "−") if rounded else "0.0 %"


def _factor(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def _power(value: float) -> str:
    """Return a large number as Markdown's formula."""
    exponent = int(np.floor(np.log10(value)))
    return rf"${value / 10**exponent:.2f} \times 10^{{{exponent}}}$"
