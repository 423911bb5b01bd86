"""One GPU against the CPU: the same gradients, low precision that learns, memory as planned.

Functions whose names begin with `of_` run in a process of their own (conftest.py).
"""

import dataclasses

import torch

from course_lib.config import Layout, RunConfig
from course_lib.grade.compare import Outcome, errors_of, on_mesh, reference, run_config
from course_lib.model.gpt import GPT
from course_lib.parallel.mesh import Mesh, build_mesh
from course_lib.parallel.parallelize import parallelize
from course_lib.plan.memory import peak_bytes, state_bytes
from course_lib.presets import small, tiny
from course_lib.profile.memory import LiveBytes
from course_lib.train.optim import build_optimizer
from course_lib.train.precision import LossScale
from course_lib.train.step import StepResult, train_step


def mesh_of(device: str) -> Mesh:
    return build_mesh(Layout(), torch.device(device))


def of_float64() -> Outcome:
    """Return the outcome of the parity tests' steps on the GPU."""
    outcome = on_mesh(mesh_of("cuda"), run_config())
    return dataclasses.replace(
        outcome,
        gradients=[(piece, values.cpu()) for piece, values in outcome.gradients],
        weights=[(piece, values.cpu()) for piece, values in outcome.weights],
    )


def test_gradients_are_those_of_the_cpu(on_gpu) -> None:
    errors = errors_of(on_gpu(of_float64), reference(run_config()))
    assert max(errors.values()) < 1e-6, errors


def of_steps(
    precision: str, device: str, first_scale: float | None = None, steps: int = 20
) -> list[StepResult]:
    """Take steps on one batch, to be learned by heart; with fp16 from a loss scale on."""
    run = tiny()
    # "auto" for the CPU's fp16, which is refused by name.
    run = dataclasses.replace(run, train=dataclasses.replace(run.train, precision=precision))
    batch = torch.randint(512, (16, 33), generator=torch.Generator().manual_seed(1))
    scale = None if first_scale is None else LossScale(first_scale)
    step, _ = step_of(run, mesh_of(device), batch, scale)
    return [step() for _ in range(steps)]


def step_of(run: RunConfig, mesh: Mesh, batch: torch.Tensor, scale: LossScale | None = None):
    """Return a function that takes a step, and what it works on."""
    with torch.device("meta"):
        model = GPT(run.model)
    parallel = parallelize(model, run, mesh)
    optimizer = build_optimizer(parallel, run.train)

    def step() -> StepResult:
        return train_step(
            parallel,
            optimizer,
            batch,
            micro_batch=run.train.micro_batch,
            global_tokens=batch[:, 1:].numel(),
            grad_clip=1.0,
            loss_scale=scale,
        )

    return step, parallel


def test_bf16_learns_as_float32_does(on_gpu) -> None:
    low, exact = on_gpu(of_steps, "bf16", "cuda"), of_steps("float32", "cpu")
    assert exact[-1].loss < exact[0].loss - 1
    for a, b in zip(low, exact, strict=True):
        assert abs(a.loss - b.loss) < 0.05


def test_fp16_finds_its_scale_and_learns(on_gpu) -> None:
    results = on_gpu(of_steps, "fp16", "cuda", 2.0**32, 40)
    taken = [result.taken for result in results]
    assert not taken[0], "a scale of 2^32 overflows"
    first = taken.index(True)
    assert all(taken[first:]), "once found, the scale holds"
    assert results[-1].loss < results[0].loss - 1
    exact = of_steps("float32", "cpu", steps=40 - first)
    assert abs(results[-1].loss - exact[-1].loss) < 0.05


def memory_run(recompute: str) -> RunConfig:
    """Return a run of about two GB, beside which the workspaces of libraries are small."""
    run = small()
    train = dataclasses.replace(run.train, global_batch=32, micro_batch=32)
    return dataclasses.replace(run, train=train, layout=Layout(recompute=recompute))


def of_memory(recompute: str) -> int:
    """Return the peak bytes of a step."""
    run = memory_run(recompute)
    batch = torch.zeros(32, run.model.seq_len + 1, dtype=torch.int64)
    step, _ = step_of(run, mesh_of("cuda"), batch)
    step()
    with LiveBytes("cuda") as live:
        step()
    return live.peak


def test_peak_memory_is_about_the_planned_one(on_gpu) -> None:
    peaks = {mode: on_gpu(of_memory, mode) for mode in ("none", "full")}
    assert peaks["full"] < peaks["none"] / 1.5
    for mode, peak in peaks.items():
        run = memory_run(mode)
        assert peak > sum(state_bytes(run, 1).values())
        assert abs(peak / peak_bytes(run, 1) - 1) < 0.15
