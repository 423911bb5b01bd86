"""The slow run of lab 05: the bottlenecks planted in it, what proves each, and how each is mended.

    loader heads sync              pieces of code, exchanged by train.slow (train/slow.py)
    recompute checkpoint bucket    settings that the run need not have

All six are real on two CPU cores and on GPUs. Three more suspects are innocent. A suspect has a
number that can be read from the recording; for the guilty ones arithmetic gives it, too, so that
grading needs no recording.
"""

import dataclasses
import os
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from course_lib.config import ProfileConfig, RunConfig, planted_bottlenecks
from course_lib.grade.data_parallel.buckets import fill_buckets
from course_lib.model.gpt import GPT
from course_lib.model.product import cpu_multiplies_bf16
from course_lib.presets import nano
from course_lib.profile.across import RunProfile
from course_lib.profile.advisor import advise
from course_lib.profile.breakdown import StepTime
from course_lib.slurm.site import NO_CLUSTER, load_site
from course_lib.train.slow import DISK_S

RANKS = 2
ORDER = ("loader", "heads", "recompute", "checkpoint", "bucket", "sync")
"""Guilty, in the order in which the lab mends them."""
BUCKET_MIB = 4.0
"""Of the mended run."""


def slow_run() -> RunConfig:
    """Return the run that somebody has sent you: it learns as it should, and takes its time."""
    run = nano()
    return dataclasses.replace(
        run,
        name="slow",
        layout=dataclasses.replace(run.layout, recompute="full"),
        train=dataclasses.replace(
            run.train,
            steps=16,
            warmup_steps=4,
            precision=_fastest_precision(),
            bucket_mib=0.02,
            checkpoint_every=1,
            val_every=100,
            val_sequences=4,
            log_every=5,
            sample_tokens=0,
            tensorboard=False,
            slow="loader,heads,sync",
        ),
        profile=ProfileConfig(steps="7:8"),
    )


def _fastest_precision() -> Literal["float32", "bf16"]:
    """Return the type in which nodes multiply fastest: it shall be no seventh mistake.

    A class cluster's nodes have this processor. Grading, which has no cluster, does not ask.
    """
    on_gpus = NO_CLUSTER not in os.environ and load_site().device == "cuda"
    return "bf16" if on_gpus or cpu_multiplies_bf16() else "float32"


def mended(run: RunConfig, name: str) -> RunConfig:
    """Return a run without one of the six."""
    layout, train = run.layout, run.train
    if name == "recompute":
        layout = dataclasses.replace(layout, recompute="none")
    elif name == "checkpoint":
        train = dataclasses.replace(train, checkpoint_every=0)
    elif name == "bucket":
        train = dataclasses.replace(train, bucket_mib=BUCKET_MIB)
    elif name in ORDER:
        left = [each for each in planted_bottlenecks(train.slow) if each != name]
        train = dataclasses.replace(train, slow=",".join(left))
    else:
        raise ValueError(f"{name!r} is none of {', '.join(ORDER)}")
    return dataclasses.replace(run, layout=layout, train=train)


def ladder(order: tuple[str, ...] = ORDER, *, steps: int = 8) -> dict[str, RunConfig]:
    """Return the slow run, and after it one run for each mend, which has those before it, too.

    They are short and nothing of them is recorded.
    """
    run = slow_run()
    train = dataclasses.replace(run.train, steps=steps)
    run = dataclasses.replace(run, train=train, profile=ProfileConfig())
    rungs = {"slow": run}
    for name in order:
        run = dataclasses.replace(mended(run, name), name=name)
        rungs[name] = run
    return rungs


def trade(*, steps: int = 8) -> dict[str, RunConfig]:
    """Return the mended run three times: with recompute none, selective and full.

    All sequences of a rank are one micro-batch, so that there are activations to speak of. The
    memory of one late step is recorded in each.
    """
    run = list(ladder(steps=steps).values())[-1]
    train = dataclasses.replace(run.train, micro_batch=_own_sequences(run))
    profile = ProfileConfig(steps=f"{steps - 1}:{steps - 1}")
    return {
        mode: dataclasses.replace(
            run,
            name=mode,
            layout=dataclasses.replace(run.layout, recompute=mode),
            train=train,
            profile=profile,
        )
        for mode in ("none", "selective", "full")
    }


@dataclass(frozen=True)
class Suspect:
    """Something that may make a run slow, and the number that shows whether it does."""

    number: str
    """What the number is, for a sentence: "the recording has ..."."""
    read: Callable[[RunProfile], float]
    """Returns it from a recording, of rank 0 and one step."""
    of_config: Callable[[RunConfig], tuple[float, float]] | None = None
    """Returns the least and the most that it can be, where the suspect is guilty."""
    look: str = ""
    """Where to look, for somebody who has not found it; for an innocent one, why it is."""


def _median(value: Callable[[StepTime], float]) -> Callable[[RunProfile], float]:
    def read(profile: RunProfile) -> float:
        return statistics.median(map(value, profile.ranks[0].steps))

    return read


def _mean_ms(category: str) -> Callable[[RunProfile], float]:
    def read(profile: RunProfile) -> float:
        steps = profile.ranks[0].steps
        return statistics.fmean(step.parts.get(category, 0) for step in steps) / 1e6

    return read


def _calls(operator: str, layer: str) -> Callable[[RunProfile], float]:
    def read(profile: RunProfile) -> float:
        rank = profile.ranks[0]
        found = [
            row.calls
            for row in rank.operators
            if (row.name, row.phase, row.layer) == (operator, "forward", layer)
        ]
        return sum(found) / len(rank.steps)

    return read


def _own_sequences(run: RunConfig) -> int:
    return run.train.global_batch // RANKS


def _micro_batches(run: RunConfig) -> int:
    return _own_sequences(run) // run.train.micro_batch


def _parameter_bytes(run: RunConfig) -> dict[str, int]:
    import torch

    with torch.device("meta"):
        model = GPT(run.model)
    return {name: p.numel() * p.element_size() for name, p in model.named_parameters()}


def num_messages(run: RunConfig) -> int:
    """Return in how many messages a rank sends its gradients."""
    sizes = _parameter_bytes(run)
    return len(fill_buckets(list(reversed(sizes)), sizes, run.train.bucket_mib * 2**20))


def _exactly(value: float, slack: float = 0.0) -> tuple[float, float]:
    return value - slack, value + slack


READINGS_SLACK = 8
"""A step reads some numbers besides: its loss, its norm."""

SUSPECTS: Mapping[str, Suspect] = {
    "loader": Suspect(
        "ms in `data`",
        _mean_ms("data"),
        lambda run: (0.98e3 * DISK_S * _own_sequences(run), 1e5),
        look="a rank that has nothing to compute, at the very beginning of each step",
    ),
    "checkpoint": Suspect(
        "ms in `checkpoint`",
        _mean_ms("checkpoint"),
        lambda run: (1e-3, 1e5),
        look="the end of each step, after the optimizer",
    ),
    "recompute": Suspect(
        "`recompute` regions",
        _median(lambda step: sum(r.words[0] == "recompute" for r in step.regions)),
        lambda run: _exactly(run.model.num_layers * _micro_batches(run)),
        look="what a rank does inside `backward` that is no backward",
    ),
    "bucket": Suspect(
        "messages over dp",
        _median(lambda step: sum(m.axis == "dp" and m.num_bytes > 0 for m in step.messages)),
        lambda run: _exactly(num_messages(run)),
        look="how many messages the gradients of some fifty parameters travel in",
    ),
    "reduce": Suspect(
        "MB sent over dp",
        _median(lambda step: sum(m.num_bytes for m in step.messages if m.axis == "dp") / 1e6),
        look="the gradients cross the network once a step, four bytes for each of about a million",
    ),
    "overlap": Suspect(
        "messages over dp posted outside `backward`",
        _median(
            lambda step: sum(
                m.axis == "dp" and m.num_bytes > 0 and m.phase != "backward" for m in step.messages
            )
        ),
        look="gradients leave while backward goes on, as they should",
    ),
    "heads": Suspect(
        "calls of scaled_dot_product_attention in block 0, forwards",
        _calls("aten::scaled_dot_product_attention", "blocks.0.attention.core"),
        lambda run: _exactly(_own_sequences(run) * run.model.num_heads),
        look="how often one layer calls attention in a step, and how many micro-batches there are",
    ),
    "tiny_ops": Suspect(
        "calls of gelu in block 0, forwards",
        _calls("aten::gelu", "blocks.0.mlp"),
        look="one call for each micro-batch is what a good MLP makes",
    ),
    "sync": Suspect(
        "numbers read back",
        _median(lambda step: step.syncs),
        lambda run: _exactly(
            len(_parameter_bytes(run)) * _micro_batches(run) + READINGS_SLACK / 2,
            READINGS_SLACK / 2,
        ),
        look="how often the host asks for a number that the device has",
    ),
}
"""By name, as in config.BOTTLENECKS."""


def promised_ratios(profile: RunProfile, order: tuple[str, ...] = ORDER) -> dict[str, float]:
    """Return how many times faster the advisor says each mend makes the run, in its place."""
    gains_ns = {finding.name: finding.gain_ns for finding in advise(profile)}
    left_ns, ratios = profile.step_ns, {}
    for name in order:
        if name in gains_ns:
            # Two promises may be about the same time: something of a step is always left.
            after_ns = max(left_ns - gains_ns[name], 0.05 * profile.step_ns)
            ratios[name] = left_ns / after_ns
            left_ns = after_ns
    return ratios
