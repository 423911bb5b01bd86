"""The trainer's data parallelism against torch's DDP and against not communicating at all.

`python -m tests.benchmarks.trainer`: two forked ranks of one thread each take `nano` steps in three
ways, in turns, so that all meet the same load; printed are medians and their ratios.
"""

import statistics
import time

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from course_lib.model.gpt import GPT
from course_lib.model.init import init_weights
from course_lib.parallel.data import sum_gradients
from course_lib.parallel.launch import run_ranks
from course_lib.parallel.mesh import Mesh
from course_lib.parallel.parallelize import ParallelModel, parallelize
from course_lib.plan.counts import flops_per_token
from course_lib.presets import nano
from course_lib.profile.timing import measure_peak_flops
from course_lib.train.optim import build_optimizer
from course_lib.train.step import train_step

RANKS, ROUNDS, STEPS = 2, 7, 5


def _no_communication(model: torch.nn.Module, mesh: Mesh) -> None:
    """Leave each rank with its own gradient: wrong, and the limit that no reduction can beat."""


def bench(mesh: Mesh) -> tuple[dict[str, list[float]], list[float]]:
    """Time rounds of STEPS steps; return seconds by variant, and peak FLOP/s by round."""
    run = nano()
    batch_local = torch.randint(
        run.model.vocab_size, (run.train.global_batch // mesh.dp.size, run.model.seq_len + 1)
    )

    def build(reduce, wrap=lambda model: model) -> tuple[ParallelModel, torch.optim.Optimizer]:
        model = GPT(run.model)
        init_weights(model, run.model, run.train.seed)
        parallel = parallelize(wrap(model), run, mesh, reduce=reduce)
        return parallel, build_optimizer(parallel.module, run.train)

    variants = {
        "ours": build(sum_gradients),
        "torch DDP": build(_no_communication, DistributedDataParallel),
        "no communication": build(_no_communication),
    }
    times_s = {name: [] for name in variants}
    peaks = []
    for round_ in range(ROUNDS + 1):
        peak = measure_peak_flops(mesh.device)
        for name, (parallel, optimizer) in variants.items():
            dist.barrier()
            started = time.perf_counter()
            for _ in range(STEPS):
                train_step(
                    parallel,
                    optimizer,
                    batch_local,
                    # One backward a step: DDP reduces in every backward.
                    micro_batch=len(batch_local),
                    global_tokens=run.train.global_batch * run.model.seq_len,
                    grad_clip=run.train.grad_clip,
                )
            dist.barrier()
            if round_:  # the first round warms up
                times_s[name].append(time.perf_counter() - started)
        peaks.append(peak)
    return times_s, peaks


def main() -> None:
    run = nano()
    times_s, peaks = run_ranks(bench, RANKS, timeout_s=600)[0]
    tokens = STEPS * run.train.global_batch * run.model.seq_len
    limit = statistics.median(times_s["no communication"])
    peak = RANKS * statistics.median(peaks)
    for name, values in times_s.items():
        median = statistics.median(values)
        mfu = tokens / median * flops_per_token(run.model) / peak
        print(
            f"nano, {RANKS} ranks, {name:17} {tokens / median:8.0f} tokens/s  MFU {mfu:4.0%}  "
            f"{limit / median:5.2f} x no communication"
        )
    ratio = statistics.median(times_s["torch DDP"]) / statistics.median(times_s["ours"])
    print(f"ours against torch DDP: {ratio:.2f} x")


if __name__ == "__main__":
    main()
