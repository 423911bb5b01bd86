"""Collectives: right sums over sub-groups, bytes counted, and waits that end with a name."""

import time

import pytest
import torch

from course_lib.config import Layout
from course_lib.parallel import comm
from course_lib.parallel.launch import RanksFailed, run_ranks
from course_lib.parallel.mesh import describe_placement


@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize("numel", [1, 7, 12])
def test_all_reduce_of_any_length(n: int, numel: int) -> None:
    def reduce(mesh):
        tensor = torch.arange(float(numel)) * (mesh.rank + 1)
        largest = comm.all_reduce(torch.tensor([float(mesh.rank)]), mesh.dp, maximum=True)
        return comm.all_reduce(tensor, mesh.dp), float(largest), mesh.dp.traffic

    for total, largest, traffic in run_ranks(reduce, n):
        assert torch.equal(total, torch.arange(float(numel)) * (n * (n + 1) / 2))
        assert largest == n - 1
        assert traffic.num_calls == 2
        assert traffic.num_bytes == 2 * 4 * numel * (n - 1) // n + 2 * 4 * (n - 1) // n


@pytest.mark.parametrize("n", [2, 4])
def test_reduce_scatter_then_all_gather_is_an_all_reduce(n: int) -> None:
    def both(mesh):
        full = torch.arange(8.0) + mesh.rank
        part = torch.empty(8 // n)
        comm.start_reduce_scatter(full, mesh.dp, part).wait()
        out = torch.empty(8)
        comm.start_all_gather(part, mesh.dp, out).wait()
        # In place too: the part lies in the full tensor.
        inside = full.view(n, -1)[mesh.dp.rank]
        comm.start_reduce_scatter(full, mesh.dp, inside).wait()
        return out, inside.clone(), part, mesh.dp.traffic.num_bytes

    for out, inside, part, num_bytes in run_ranks(both, n):
        assert torch.equal(out, n * torch.arange(8.0) + sum(range(n)))
        assert torch.equal(inside, part)
        assert num_bytes == 3 * 32 * (n - 1) // n


@pytest.mark.parametrize("sp", [False, True])
def test_each_pair_is_its_own_mirror_image(sp: bool) -> None:
    """The gradient of sum(f(x) * w) through a pair equals the one computed without ranks."""

    def through(mesh):
        torch.manual_seed(mesh.rank)
        x = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
        if sp:
            part = comm.reduce_scatter_to(x, mesh.tp)
            y = comm.all_gather_from(part * (mesh.rank + 1), mesh.tp)
        else:
            part = comm.scatter_to(comm.reduce_from(x, mesh.tp), mesh.tp)
            y = comm.gather_from(part * (mesh.rank + 1), mesh.tp)
        torch.manual_seed(9)
        weight = torch.randn_like(y)
        (comm.copy_to(y, mesh.tp) * weight).sum().backward()
        return x.detach(), y.detach(), x.grad

    (x0, y0, g0), (x1, y1, g1) = run_ranks(through, 2, layout=Layout(tp=2))
    scale = torch.tensor([1.0, 1, 2, 2], dtype=torch.float64).view(1, 4, 1)
    assert torch.allclose(y0, (x0 + x1) * scale)
    assert torch.equal(y0, y1)
    torch.manual_seed(9)
    weight = torch.randn_like(y0)
    # copy_to sums the two ranks' gradients; with sp the reduce-scatter sums them once more.
    factor = 4 if sp else 2
    expected = weight * scale * factor
    if not sp:  # reduce_from passes the gradient on, gather_from keeps this rank's part
        assert torch.allclose(g0, expected) and torch.allclose(g1, expected)
    else:
        assert torch.allclose(g0, expected) and torch.allclose(g1, expected)


def test_the_axes_of_a_mesh() -> None:
    layout = Layout(dp=2, pp=2, tp=2)

    def places(mesh):
        return [(axis.name, axis.rank, axis.ranks) for axis in (*mesh.axes, mesh.ends)]

    found = run_ranks(places, 8, layout=layout)
    assert found[5] == [
        ("dp", 0, (5, 7)),
        ("pp", 1, (1, 5)),
        ("tp", 1, (4, 5)),
        ("world", 5, tuple(range(8))),
        ("ends", 1, (1, 5)),
    ]


def test_a_rank_that_does_not_arrive_is_named() -> None:
    def hang(mesh):
        mesh.progress.step = 12
        if mesh.rank == 2:
            time.sleep(30)
        comm.all_reduce(torch.ones(10), mesh.dp)

    with pytest.raises(RanksFailed) as failure:
        run_ranks(hang, 3, timeout_s=10)
    expected = "step 12: all_reduce on axis dp timed out; did not arrive: rank 2 of [0, 1, 2]"
    assert expected in failure.value.errors[0]
    assert expected in failure.value.errors[1]


def test_a_rank_on_another_path_is_named_with_its_operation() -> None:
    def astray(mesh):
        mesh.progress.step = 3
        if mesh.rank == 3:
            time.sleep(30)
        comm.all_reduce(torch.ones(10), mesh.dp if mesh.rank == 1 else mesh.tp)

    with pytest.raises(RanksFailed) as failure:
        run_ranks(astray, 4, layout=Layout(dp=2, tp=2), timeout_s=10)
    assert (
        "step 3: all_reduce on axis tp timed out; rank 1 waits in all_reduce on axis dp"
        in (failure.value.errors[0])
    )


def test_where_tp_lies_is_told() -> None:
    def describe(mesh):
        return [
            describe_placement(mesh, hosts)
            for hosts in (["a", "a", "b", "b"], ["a", "b", "a", "b"])
        ]

    inside, across = run_ranks(describe, 4, layout=Layout(dp=2, tp=2))[0]
    assert inside == "tp(2) stays inside a node"
    assert "tp(2) reaches over 2 nodes" in across and "--ntasks-per-node" in across


def test_a_message_to_a_rank_that_is_not_there_is_refused() -> None:
    def send(mesh):
        comm.exchange([comm.Send(torch.ones(1), mesh.rank - 1)], mesh.dp)

    with pytest.raises(RanksFailed, match="Send names rank -1 of dp, whose ranks are 0 to 1"):
        run_ranks(send, 2)


def test_waiting_twice_is_waiting_once() -> None:
    def twice(mesh):
        tensor = torch.ones(3)
        pending = comm.start_all_reduce(tensor, mesh.dp)
        pending.wait()
        pending.wait()
        return tensor.tolist()

    assert run_ranks(twice, 2, timeout_s=10) == [[2.0] * 3] * 2
