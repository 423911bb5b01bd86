"""torch's own parallel training gives the same gradients as ours, number by number, in float64.

DDP, FSDP2, DTensor and torch's pipeline know nothing of this library: they get the plain model. The
reference of the other tests is one process; these are implementations that thousands use.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.pipelining import PipelineStage, Schedule1F1B
from torch.distributed.tensor import DTensor, Replicate
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    RowwiseParallel,
    parallelize_module,
)
from torch.nn.parallel import DistributedDataParallel

from course_lib.config import RunConfig
from course_lib.grade.compare import (
    RTOL,
    batch_of,
    build_model,
    differences,
    on_mesh,
    run_config,
    windows,
)
from course_lib.model.gpt import GPT
from course_lib.parallel.launch import run_ranks
from course_lib.parallel.mesh import Mesh
from tests.parity.layouts import case


def mean_loss(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def train_once(model: nn.Module, run: RunConfig, mesh: Mesh) -> None:
    """Backward through this rank's share as torch expects it: the mean of the rank's own tokens."""
    batch = batch_of(0, run, mesh, windows(run))
    mean_loss(model(batch[:, :-1]), batch[:, 1:]).backward()


def whole(model: nn.Module) -> dict[str, Tensor]:
    """Return the gradients of the parameters that this rank has, put together from all ranks."""
    gradients = {name: p.grad for name, p in model.named_parameters()}
    return {
        name: grad.full_tensor() if isinstance(grad, DTensor) else grad
        for name, grad in gradients.items()
    }


def torch_axis(mesh: Mesh, name: str) -> DeviceMesh:
    return init_device_mesh("cpu", (mesh.world_size,), mesh_dim_names=(name,))


def ddp(run: RunConfig, mesh: Mesh) -> dict[str, Tensor]:
    model = build_model(run)
    train_once(DistributedDataParallel(model), run, mesh)
    return whole(model)


def fsdp2(run: RunConfig, mesh: Mesh) -> dict[str, Tensor]:
    model, axis = build_model(run), torch_axis(mesh, "dp")
    for block in model.blocks.values():
        fully_shard(block, mesh=axis)
    train_once(fully_shard(model, mesh=axis), run, mesh)
    return whole(model)


def dtensor(run: RunConfig, mesh: Mesh) -> dict[str, Tensor]:
    model, axis, tp = build_model(run), torch_axis(mesh, "tp"), mesh.world_size
    plan = {
        "attention.qkv": ColwiseParallel(),
        "attention.out": RowwiseParallel(),
        "mlp.up": ColwiseParallel(),
        "mlp.down": RowwiseParallel(),
    }
    qkv = [layer for name, layer in model.named_modules() if name.endswith("qkv")]
    with torch.no_grad():
        for layer in qkv:
            for parameter in layer.parameters():
                # DTensor cuts a matrix in one block: give it each rank's q, k and v in a row.
                parameter.copy_(parameter.unflatten(0, (3, tp, -1)).transpose(0, 1).flatten(0, 2))
    for block in model.blocks.values():
        parallelize_module(block, axis, plan)
    ends = {
        "tokens": RowwiseParallel(input_layouts=Replicate()),
        "head": ColwiseParallel(output_layouts=Replicate()),
    }
    parallelize_module(model, axis, ends)
    model.head.weight = model.tokens.weight
    train_once(model, run, mesh)
    gradients = whole(model)
    for name in gradients:
        if "qkv" in name:
            by_rank = gradients[name].unflatten(0, (tp, 3, -1))
            gradients[name] = by_rank.transpose(0, 1).flatten(0, 2)
    return gradients


def one_f_one_b(run: RunConfig, mesh: Mesh) -> dict[str, Tensor]:
    model = build_model(run)
    half = run.model.num_layers // 2
    first = mesh.rank * half
    model.blocks = nn.ModuleDict({str(i): model.blocks[str(i)] for i in range(first, first + half)})
    if mesh.rank == 0:
        model.norm = model.head = None
    else:
        model.tokens = model.positions = None
    stage = PipelineStage(model, mesh.rank, 2, mesh.device)
    schedule = Schedule1F1B(stage, run.train.global_batch, loss_fn=mean_loss)
    batch = batch_of(0, run, mesh, windows(run))
    if mesh.rank == 0:
        schedule.step(batch[:, :-1])
    else:
        schedule.step(target=batch[:, 1:])
    return whole(model)


@dataclass
class Opinion:
    name: str
    layout: str
    gradients: Callable[[RunConfig, Mesh], dict[str, Tensor]]


OPINIONS = [
    Opinion("DistributedDataParallel", "dp2", ddp),
    Opinion("DistributedDataParallel", "dp4 zero1", ddp),
    Opinion("FSDP2 fully_shard", "dp2 zero2", fsdp2),
    Opinion("FSDP2 fully_shard", "dp2 zero3", fsdp2),
    Opinion("DTensor Colwise/RowwiseParallel", "tp2", dtensor),
    Opinion("DTensor Colwise/RowwiseParallel", "tp2 sp", dtensor),
    Opinion("pipelining Schedule1F1B", "pp2, untied", one_f_one_b),
]


@pytest.mark.parametrize("opinion", OPINIONS, ids=lambda each: f"{each.name}-{each.layout}")
def test_torch_has_the_same_gradients(opinion: Opinion, row) -> None:
    chosen = case(opinion.layout)
    run = run_config(chosen.layout, **chosen.changes)

    def compare(mesh: Mesh) -> dict[str, float]:
        return differences(on_mesh(mesh, run).gradients, opinion.gradients(run, mesh))

    ranks = run_ranks(compare, chosen.ranks, layout=chosen.layout, timeout_s=120)
    compared = {name for rank in ranks for name in rank}
    assert compared == {name for name, _ in GPT(run.model).named_parameters()}
    worst = max(max(rank.values()) for rank in ranks)
    row(
        "second opinions: gradients of torch's own implementations",
        torch=opinion.name,
        ours=opinion.layout,
        weights=len(compared),
        error=worst,
    )
    assert worst < RTOL
