"""Traces whose truth is known to the nanosecond: reading, breakdown, several ranks."""

import gzip
import json

import numpy as np
import pytest

from course_lib.profile import events, intervals
from course_lib.profile.across import profile_run
from course_lib.profile.breakdown import break_down
from course_lib.profile.events import read_trace
from tests.unit.traces import event, op, rank_about, write_trace


def step_of(tmp_path, *made, about=None):
    path = write_trace(tmp_path / "rank0.pt.trace.json", list(made), about)
    return break_down(read_trace(path))


def us(parts):
    return {name: ns / 1000 for name, ns in parts.items() if ns}


def test_every_moment_belongs_to_the_innermost_region(tmp_path):
    rank = step_of(
        tmp_path,
        event("ProfilerStep#5", 0, 1000),
        event("data", 10, 50),
        event("forward/m0/c0", 100, 200.5),
        op("aten::mm", 110, 100),
        event("comm/all_reduce/tp/64", 220, 5),
        event("wait/all_reduce/tp", 230, 20),
        event("backward/m0/c0", 310, 300),
        event("comm/all_reduce/dp/4096", 400, 2),
        event("reduce", 620, 100),
        event("wait/all_reduce/dp", 630, 60),
        event("norm", 730, 20),
        event("optimizer", 760, 100),
        event("checkpoint", 870, 30),
        event("validate", 910, 40),
    )
    (step,) = rank.steps
    assert step.number == 5
    assert us(step.parts) == {
        "compute": 200.5 - 25 + 300 - 2 + 40 + 20,
        "comm": 25 + 2 + 60,
        "data": 50,
        "optimizer": 100,
        "checkpoint": 30,
        "validate": 40,
        "idle": 1000 - 50 - 200.5 - 300 - 100 - 20 - 100 - 30 - 40,
    }
    assert us(step.comm) == {"tp": 25, "dp": 62}
    assert sum(step.parts.values()) == step.ns


def test_what_is_sent_while_something_is_computed_is_overlapped(tmp_path):
    rank = step_of(
        tmp_path,
        event("ProfilerStep#1", 0, 100),
        event("backward/m0/c0", 0, 60),
        event("comm/all_reduce/dp/4096", 20, 2),
        event("gloo:all_reduce", 25, 50, lane=9),
        event("reduce", 60, 40),
        event("wait/all_reduce/dp", 60, 15),
    )
    (step,) = rank.steps
    assert us(step.overlapped) == {"dp": 60 - 25}
    assert us(step.comm) == {"dp": 2 + 15}


def test_operators_their_layers_and_the_regions_inside_them(tmp_path):
    rank = step_of(
        tmp_path,
        event("ProfilerStep#1", 0, 1000),
        event("forward/m0/c0", 0, 400),
        event("layer/blocks.3", 10, 300),
        op("aten::linear", 20, 100, **{"Sequence number": 8}),
        op(
            "aten::addmm",
            30,
            60,
            **{
                "Sequence number": 8,
                "Input Dims": [[4], [2, 3], [3, 4], []],
                "Input type": ["float", "float", "float", ""],
            },
        ),
        op("_Reduce", 150, 50),
        event("wait/all_reduce/tp", 160, 30),
        event("backward/m0/c0", 500, 400),
        op(
            "autograd::engine::evaluate_function: AddmmBackward0", 510, 90, **{"Sequence number": 8}
        ),
        op("aten::mm", 520, 70),
    )
    rows = {(row.name, row.phase): row for row in rank.operators}
    assert rows["aten::linear", "forward"].own_ns == 40_000
    assert rows["aten::linear", "forward"].total_ns == 100_000
    assert rows["aten::addmm", "forward"].total_ns == 0
    assert rows["_Reduce", "forward"].own_ns == 20_000
    assert rows["aten::mm", "backward"].layer == "blocks.3"
    (gemm,) = rank.gemms
    assert (gemm.batch, gemm.m, gemm.n, gemm.k, gemm.dtype) == (1, 2, 4, 3, "float")
    assert (gemm.flops, gemm.num_bytes) == (48, 4 * (6 + 12 + 8))
    # In compute without an operator: all of it, less operators and the wait inside one of them.
    assert rank.steps[0].gaps_ns == 1000 * (400 + 400 - 30 - 100 - (50 - 30) - 90)


def test_readings_by_the_host_are_counted_with_what_makes_them(tmp_path):
    rank = step_of(
        tmp_path,
        event("ProfilerStep#1", 0, 1000),
        event("backward/m0/c0", 0, 500),
        op("autograd::engine::evaluate_function: AddmmBackward0", 0, 100),
        op("aten::mm", 5, 20),
        op("aten::isfinite", 30, 10),
        op("aten::all", 45, 5),
        op("aten::is_nonzero", 55, 5),
        op("aten::item", 56, 3),
        event("optimizer", 600, 100),
        op("aten::_fused_adamw_", 610, 50),
        op("aten::item", 620, 5),
    )
    (step,) = rank.steps
    assert (step.syncs, step.sync_ns) == (1, 30_000)


def test_a_gpu_step_is_what_its_kernels_do(tmp_path):
    def launch(number, at):
        return event("cudaLaunchKernel", at, 1, "cuda_runtime", correlation=number)

    def kernel(name, at, length, number, stream=7):
        return event(name, at, length, "kernel", lane=stream, correlation=number)

    rank = step_of(
        tmp_path,
        event("ProfilerStep#1", 0, 1000),
        event("data", 0, 90),
        event("forward/m0/c0", 100, 50),
        op("aten::mm", 105, 20, **{"Input Dims": [[2, 3], [3, 4]], "Input type": ["half", "half"]}),
        launch(1, 110),
        event("backward/m0/c0", 160, 100),
        launch(2, 170),
        event("comm/all_reduce/dp/4096", 180, 5),
        launch(3, 181),
        event("comm/exchange/pp/64/1:F0.0", 190, 5),
        launch(4, 191),
        event("optimizer", 300, 20),
        launch(5, 301),
        kernel("sgemm", 120, 200, 1),
        kernel("sgemm", 350, 100, 2),
        kernel("ncclDevKernel_AllReduce_Sum_f32_RING_LL", 400, 150, 3, stream=20),
        kernel("ncclDevKernel_SendRecv", 560, 40, 4, stream=24),
        kernel("multi_tensor_apply_kernel", 700, 80, 5),
    )
    assert rank.on_gpu
    (step,) = rank.steps
    assert us(step.parts) == {
        "compute": 300,
        "optimizer": 80,
        "comm": 100,
        "bubble": 40,
        "data": 90,
        "idle": 1000 - 300 - 80 - 100 - 40 - 90,
    }
    assert us(step.overlapped) == {"dp": 50}
    # The host was in it for 20 us; the device worked for 200.
    (gemm,) = rank.gemms
    assert (gemm.calls, gemm.ns, gemm.dtype) == (1, 200_000, "half")
    assert rank.operators[0].own_ns == 200_000


def pipeline(tmp_path, clock_us=(0.0, 0.0), late_us=0):
    """Stage 0 sends after 100 us of work; stage 1 has waited since its start."""
    for rank, clock in enumerate(clock_us):
        pp = {"pp": (rank, [0, 1])}
        sender = [
            event("forward/m0/c0", clock, 100),
            event("comm/exchange/pp/64/1:F0.0", clock + 100, 5),
        ]
        receiver = [
            event("forward/m0/c0", clock, 150),
            event("wait/receive/pp/0:F0.0", clock, 130),
        ]
        made = [
            event("ProfilerStep#1", clock, 400),
            *(receiver if rank else sender),
            event("norm", clock + 200, 100),
            event("comm/all_reduce/world/24", clock + 200, 2),
            event("wait/all_reduce/world", clock + 210, 10 + late_us),
        ]
        if rank == 0 and late_us:
            made[-3:] = [
                event("norm", clock + 200 + late_us, 100),
                event("comm/all_reduce/world/24", clock + 200 + late_us, 2),
                event("wait/all_reduce/world", clock + 210 + late_us, 10),
            ]
        path = tmp_path / "profile" / f"rank{rank}.pt.trace.json.gz"
        write_trace(path, made, rank_about(rank, 2, **pp))
    return profile_run(tmp_path)


def test_a_wait_for_a_stage_is_bubble_until_it_has_sent(tmp_path):
    run = pipeline(tmp_path)
    assert run.clock_offsets_ns == [0, 0]
    step = run.step(1)[1]
    assert us(step.parts)["bubble"] == 100
    assert us(step.comm)["pp"] == 30
    assert sum(step.parts.values()) == step.ns


def test_a_wait_for_all_stages_is_bubble_until_the_last_has_come(tmp_path):
    first, last = pipeline(tmp_path, late_us=40).step(1)
    assert "bubble" not in us(first.parts) and us(first.comm)["world"] == 12
    assert us(last.parts)["bubble"] == 100 + 30 and us(last.comm)["world"] == 10 + 2 + 10
    assert sum(last.parts.values()) == last.ns


def test_a_wait_is_for_a_late_rank_until_the_last_has_come(tmp_path):
    for rank, start in enumerate((0, 100)):
        made = [
            event("ProfilerStep#1", 0, 400),
            event("reduce", start, 200),
            event("comm/all_reduce/dp/64", start, 5),
            event("wait/all_reduce/dp", start + 5, 150 - start),
        ]
        path = tmp_path / "profile" / f"rank{rank}.pt.trace.json.gz"
        write_trace(path, made, rank_about(rank, 2, dp=(rank, [0, 1])))
    first, last = profile_run(tmp_path).step(1)
    assert us(first.comm) == {"dp": 155} and us(first.late) == {"dp": 95}
    assert us(last.comm) == {"dp": 55} and us(last.late) == {}


def test_a_clock_that_is_wrong_is_corrected(tmp_path):
    run = pipeline(tmp_path, clock_us=(0.0, 50_000.0))
    assert run.clock_offsets_ns == [0, -50_000_000]
    assert us(run.step(1)[1].parts)["bubble"] == 100
    assert run.step(1)[1].start == run.step(1)[0].start


def test_a_foreign_trace_is_one_step(tmp_path):
    path = tmp_path / "other.json"
    path.write_text(json.dumps([op("aten::mm", 5, 20), op("aten::add", 30, 2)]))
    run = profile_run(path)
    assert run.config is None
    (step,) = run.ranks[0].steps
    assert (step.number, step.ns, step.operators) == (0, 27_000, 2)


def test_events_that_cannot_be_used_are_counted(tmp_path):
    broken = op("aten::mm", 5, 20)
    del broken["dur"]
    rank = step_of(
        tmp_path, event("ProfilerStep#1", 0, 100), broken, op("aten::mm", 30, -5), {"ph": "M"}
    )
    assert rank.left_out == {"without a time": 1, "of negative length": 1}


@pytest.mark.parametrize(
    "text, words",
    [
        ('{"traceEvents": [', "ends in the middle"),
        ('{"traceEvents": [{"ph": "X", "cat"', "an event cannot be read"),
        ('{"traceEvents": []}', "no operation with a time"),
        ('{"a": 1}', 'no list "traceEvents"'),
        ("", 'no list "traceEvents"'),
        ('{"a": , "traceEvents": []}', "not JSON"),
    ],
)
def test_a_file_that_is_no_trace_says_so(tmp_path, text, words):
    path = tmp_path / "rank0.pt.trace.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=words) as caught:
        read_trace(path)
    assert str(path) in str(caught.value)


def test_a_packed_file_that_is_cut_off_says_so(tmp_path):
    made = [event("ProfilerStep#1", 0, 100), *(op("aten::mm", i, 0.5) for i in range(5000))]
    path = write_trace(tmp_path / "rank0.pt.trace.json.gz", made)
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(ValueError, match="is damaged"):
        read_trace(path)
    with pytest.raises(ValueError, match=r"profile.steps 5:8"):
        profile_run(tmp_path / "nothing")


def test_a_trace_longer_than_a_chunk_is_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(events, "CHUNK", 1000)
    made = [op(f"aten::op{i % 7}", i * 1.001, 0.5, filler="x" * (i % 50)) for i in range(500)]
    path = tmp_path / "rank0.pt.trace.json.gz"
    with gzip.open(path, "wt") as file:
        file.write(json.dumps({"traceEvents": made}))
    trace = read_trace(path)
    assert len(trace) == 500
    assert trace.start.tolist() == [round(i * 1001) for i in range(500)]


def test_intervals_against_a_grid():
    random = np.random.default_rng(3)

    def draw():
        starts = random.integers(0, 90, 6)
        return [(int(s), int(s + random.integers(0, 12))) for s in starts]

    def grid(stretches):
        return {moment for low, high in stretches for moment in range(low, high)}

    for _ in range(200):
        a, b = draw(), draw()
        one, two = intervals.union(a), intervals.union(b)
        assert grid(one.tolist()) == grid(a)
        assert grid(intervals.intersect(one, two).tolist()) == grid(a) & grid(b)
        assert grid(intervals.subtract(one, two).tolist()) == grid(a) - grid(b)
        assert intervals.length(one) == len(grid(a))
