"""One GPU: tokens per second, MFU and peak memory of published model sizes, in bf16.

`python -m tests.benchmarks.gpu`. Whole training steps of four micro-batches, with and without
torch.compile; MFU against this GPU's own bf16 matrix product. Without a GPU it says so and ends.
"""

import dataclasses
import gc
import statistics
import time

import torch

from course_lib.config import Layout, RunConfig
from course_lib.model.gpt import GPT
from course_lib.parallel.mesh import build_mesh
from course_lib.parallel.parallelize import parallelize
from course_lib.plan.counts import flops_per_token
from course_lib.plan.memory import peak_bytes
from course_lib.presets import gpt_1_3b, gpt_124m
from course_lib.profile.memory import LiveBytes
from course_lib.profile.timing import measure_peak_flops, synchronize
from course_lib.train.optim import build_optimizer
from course_lib.train.step import train_step

MICRO_BATCHES, WARM_UP, STEPS = 4, 3, 10


def bench(run: RunConfig, device: torch.device) -> tuple[float, int]:
    """Return the median seconds of a step, and the most bytes that one needed."""
    with torch.device("meta"):
        model = GPT(run.model)
    parallel = parallelize(model, run, build_mesh(Layout(), device))
    optimizer = build_optimizer(parallel, run.train)
    shape = (run.train.global_batch, run.model.seq_len + 1)
    batch = torch.randint(run.model.vocab_size, shape, device=device)
    times_s = []
    for number in range(WARM_UP + STEPS):
        if number == WARM_UP:
            live = LiveBytes(device)
            live.reset_peak()
        synchronize(device)
        start_s = time.perf_counter()
        train_step(
            parallel,
            optimizer,
            batch,
            micro_batch=run.train.micro_batch,
            global_tokens=batch[:, 1:].numel(),
            grad_clip=run.train.grad_clip,
        )
        synchronize(device)
        times_s.append(time.perf_counter() - start_s)
    return statistics.median(times_s[WARM_UP:]), live.peak


def main() -> None:
    if not torch.cuda.is_available():
        print("no GPU here: skipped")
        return
    device = torch.device("cuda", 0)
    peak_flops = measure_peak_flops(device, torch.bfloat16)
    print(f"{torch.cuda.get_device_name(device)}: bf16 product {peak_flops / 1e12:.0f} TFLOP/s")
    for preset in (gpt_124m, gpt_1_3b):
        for compiled in (False, True):
            run = preset()
            train = dataclasses.replace(
                run.train,
                global_batch=MICRO_BATCHES * run.train.micro_batch,
                compile=compiled,
            )
            run = dataclasses.replace(run, train=train)
            name = f"{run.name}{', compiled' if compiled else ''}"
            try:
                step_s, num_bytes = bench(run, device)
            except torch.OutOfMemoryError:
                print(f"{name:20} does not fit: planned {peak_bytes(run, 1) / 2**30:.0f} GiB")
                continue
            finally:
                gc.collect()
                torch.cuda.empty_cache()
            tokens_per_s = train.global_batch * run.model.seq_len / step_s
            mfu = tokens_per_s * flops_per_token(run.model) / peak_flops
            print(
                f"{name:20} {tokens_per_s:9,.0f} tokens/s  MFU {mfu:5.1%}  "
                f"{num_bytes / 2**30:5.1f} GiB (planned {peak_bytes(run, 1) / 2**30:.1f})"
            )


if __name__ == "__main__":
    main()
