"""What a layout costs: step, memory, days, GPU-hours, money, energy; and why another is slower.

    steps = tokens / (B T)      days = steps x step time / 86400      GPU-hours = 24 x days x N
    MFU = F B T / (step time x N x peak)       F: FLOPs per token without recomputation (counts.py)
    energy = GPU-hours x power of a GPU at full load: without hosts, network and cooling

No torch. Left out on purpose: failures, checkpoints, waiting in a queue.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from course_lib.config import Layout
from course_lib.plan.candidates import take
from course_lib.plan.cases import RECOMPUTE, Array, Cases
from course_lib.plan.constants import CONSTANTS, Constants
from course_lib.plan.counts import flops_per_token
from course_lib.plan.owners import bytes_by_owner, owner_names
from course_lib.plan.search import Search
from course_lib.plan.step_time import StepTime, parts, step_time

PART_WORDS = {
    "gemm": "matrix products",
    "attention": "attention",
    "elementwise": "element-wise work",
    "recompute": "recomputation",
    "launch": "waiting for the host",
    "tp": "tp messages",
    "pp": "sends between stages",
    "bubble": "bubble",
    "dp": "dp messages",
    "optimizer": "optimizer",
}
"""The parts of a step, for people."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """One layout of a model on a cluster, and what training takes."""

    layout: Layout
    """How the GPUs are arranged."""
    micro_batch: int
    """Sequences that a rank works on at a time."""
    micro_batches: int
    """That each rank works through in a step."""
    step_s: float
    """Seconds of a step."""
    parts_s: dict[str, float]
    """Seconds of the step by part (step_time.py)."""
    memory_bytes: dict[str, float]
    """On the fullest GPU by owner (owners.py)."""
    flops_per_gpu: float
    """FLOP/s of the model, without recomputation, by each GPU."""
    mfu: float
    """That over the peak."""
    steps: int
    """Until all tokens are trained on."""
    days: float
    """Of all steps, without a pause."""
    gpu_hours: float
    """Of all GPUs together."""
    cost_usd: tuple[float, float]
    """At the low and the high end of the price range; 0 where no price is known."""
    energy_kwh: float
    """0 where the power is not known."""

    @property
    def total_bytes(self) -> float:
        """Bytes of all owners."""
        return sum(self.memory_bytes.values())

    @property
    def bubble_share(self) -> float:
        """Share of the step in which a rank waits for other pipeline stages."""
        return self.parts_s["bubble"] / self.step_s

    @property
    def communication_share(self) -> float:
        """Share of the step in messages that nothing hides."""
        return sum(self.parts_s[name] for name in ("tp", "pp", "dp")) / self.step_s

    def to_json(self) -> dict[str, Any]:
        """Return all of it, for programs."""
        shares = {
            "total_bytes": self.total_bytes,
            "bubble_share": self.bubble_share,
            "communication_share": self.communication_share,
        }
        return dataclasses.asdict(self) | shares


def forecasts(
    found: Search,
    indices: Array,
    *,
    tokens: float,
    times: StepTime | None = None,
    price_per_hour: tuple[float, float] | None = None,
    constants: Constants = CONSTANTS,
) -> list[Forecast]:
    """Return what each of some candidates of a search costs.

    Args:
        found: the search.
        indices: candidates that are legal, such as those of `found.best(10)`.
        tokens: to train on.
        times: of these candidates, where they are known already.
        price_per_hour: low and high, USD per GPU; left out, the hardware's.
        constants: as for the search.
    """
    request, cases = found.request, take(found.cases, indices)
    gpu, gpus = request.hardware, request.num_gpus
    if times is None:
        times = step_time(
            cases,
            gpu,
            constants=constants,
            stack=request.stack,
            software=request.software,
            exact=True,
        )
    owners = bytes_by_owner(cases)
    step_tokens = request.global_batch * request.model.seq_len
    steps = math.ceil(tokens / step_tokens)
    flops = flops_per_token(request.model) * step_tokens
    low, high = price_per_hour or gpu.price_per_hour
    found_forecasts = []
    for i in range(len(indices)):
        step_s = float(times.total[i])
        hours = steps * step_s / 3600
        flops_per_gpu = flops / (step_s * gpus)
        found_forecasts.append(
            Forecast(
                layout=layout_of(cases, i),
                micro_batch=int(cases.micro_batch[i]),
                micro_batches=int(cases.micro_batches[i]),
                step_s=step_s,
                parts_s={name: float(getattr(times, name)[i]) for name in parts()},
                memory_bytes={name: float(getattr(owners, name)[i]) for name in owner_names()},
                flops_per_gpu=flops_per_gpu,
                mfu=flops_per_gpu / request.peak_flops_per_s,
                steps=steps,
                days=hours / 24,
                gpu_hours=hours * gpus,
                cost_usd=(hours * gpus * low, hours * gpus * high),
                energy_kwh=hours * gpus * gpu.power_w / 1000,
            )
        )
    return found_forecasts


def layout_of(cases: Cases, index: int) -> Layout:
    """Return one of the cases as the trainer's layout."""

    def size(name: str) -> Any:
        return getattr(cases, name)[index].item()

    return Layout(
        dp=size("dp"),
        pp=size("pp"),
        tp=size("tp"),
        sp=size("sp"),
        virtual_stages=size("virtual_stages"),
        schedule="interleaved" if size("virtual_stages") > 1 else "1f1b",
        zero=size("zero"),
        recompute=RECOMPUTE[size("recompute")],
    )


def mesh_words(layout: Layout) -> str:
    """Return the mesh, such as `tp 8 x pp 8 x dp 16`."""
    return f"tp {layout.tp} x pp {layout.pp} x dp {layout.dp}"


def why_slower(best: Forecast, other: Forecast) -> str:
    """Say by how much a layout is slower than the best, where it loses, why, and where it gains."""
    more = {name: other.parts_s[name] - best.parts_s[name] for name in best.parts_s}
    seen = 0.05 * sum(abs(difference) for difference in more.values())
    loses = sorted((name for name in more if more[name] > seen), key=lambda name: -more[name])
    gains = sorted((name for name in more if more[name] < -seen), key=lambda name: more[name])
    unit, factor = ("s", 1.0) if best.step_s >= 1 else ("ms", 1e3)

    def seconds(name: str) -> str:
        return f"{PART_WORDS[name]} {more[name] * factor:+.2f} {unit}"

    lost = "; ".join(seconds(name) + _cause(name, best, other) for name in loses)
    slower_s = other.step_s - best.step_s
    text = f"{mesh_words(other.layout)} is {slower_s / best.step_s:.1%} slower "
    text += f"({slower_s * factor:+.2f} {unit})"
    text += f": {lost}" if lost else ""
    gained = ", ".join(seconds(name) for name in gains)
    return text + (f". It gains less: {gained}." if gains else ".")


def _cause(part: str, best: Forecast, other: Forecast) -> str:
    """Return why a part takes longer, from what differs between the layouts; or nothing."""
    a, b = best.layout, other.layout
    reasons = {
        "gemm": [
            (b.tp > a.tp, f"tp {b.tp} for {a.tp} cuts the products narrower"),
            (
                other.micro_batch < best.micro_batch,
                f"micro-batch {other.micro_batch} for {best.micro_batch} makes them shorter",
            ),
            (b.pp > a.pp, f"the head weighs more on the last of {b.pp} stages"),
        ],
        "recompute": [(b.recompute != a.recompute, f"recompute {b.recompute} for {a.recompute}")],
        "tp": [
            (b.tp > a.tp, f"each layer's sums go over {b.tp} GPUs instead of {a.tp}"),
            (
                b.recompute == "full" and a.recompute != "full",
                "and again where a layer is computed again",
            ),
        ],
        "pp": [
            (
                b.pp * b.virtual_stages > a.pp * a.virtual_stages,
                f"{b.pp * b.virtual_stages} stages for {a.pp * a.virtual_stages}",
            ),
            (b.tp < a.tp, f"each of {b.tp} tp ranks sends a larger part"),
        ],
        "bubble": [
            (True, f"(pp - 1) / (v m) = {_idle(other):.3f} for {_idle(best):.3f}"),
        ],
        "dp": [
            (
                b.tp * b.pp < a.tp * a.pp,
                f"a GPU holds 1/{b.tp * b.pp} of the model instead of 1/{a.tp * a.pp}",
            ),
            (b.zero > a.zero, f"zero {b.zero} for {a.zero}"),
        ],
    }
    true = [words for holds, words in reasons.get(part, []) if holds]
    return f" ({', '.join(true)})" if true else ""


def _idle(forecast: Forecast) -> float:
    layout = forecast.layout
    return (layout.pp - 1) / (layout.virtual_stages * forecast.micro_batches)
