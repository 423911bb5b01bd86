"""Step times: parts that sum, the bubble that the schedule has, and never slower with more."""

import dataclasses
import itertools

import numpy as np
import pytest

from course_lib.plan import bubble
from course_lib.plan.cases import Cases
from course_lib.plan.constants import CONSTANTS
from course_lib.plan.hardware import GPUS, Hardware, find_hardware
from course_lib.plan.kernels import Kernels
from course_lib.plan.published import NARAYANAN_2021
from course_lib.plan.software import SOFTWARE, Software, find_software
from course_lib.plan.step_time import StepTime, parts, step_time
from course_lib.presets import nano
from course_lib.schedule import Op, build_schedule, simulate

A100 = find_hardware("a100-80gb")
LAYOUTS = [
    dict(zip(("dp", "pp", "tp", "virtual_stages"), sizes, strict=True))
    for sizes in ((1, 1, 1, 1), (8, 1, 1, 1), (4, 2, 2, 1), (2, 4, 8, 2), (16, 8, 8, 3))
]


def cases(**changes: object) -> Cases:
    """Return a GPT of 48 layers in bf16, with some fields changed."""
    values = {
        "vocab_size": 51_200,
        "seq_len": 2_048,
        "num_layers": 48,
        "num_heads": 32,
        "d_model": 4_096,
        "d_ff": 16_384,
        "tied_head": True,
        "global_batch": 512,
        "micro_batch": 1,
        "dp": 4,
        "pp": 4,
        "tp": 4,
        "sp": False,
        "virtual_stages": 1,
        "zero": 0,
        "recompute": 0,
        "weight_bytes": 2,
        "grad_bytes": 4,
        "offload": False,
        "fused_attention": True,
        "dropout": False,
    } | changes
    return Cases(**{name: np.asarray(value) for name, value in values.items()})


def total(of: Cases, hardware: Hardware = A100, **options) -> float:
    return step_time(of, hardware, **options).total.item()


def each(result: StepTime) -> list[np.ndarray]:
    return [getattr(result, name) for name in parts()]


@pytest.mark.parametrize("software", SOFTWARE, ids=lambda each: each.name)
def test_the_parts_are_not_negative_and_sum_to_the_total(software: Software) -> None:
    several = {name: np.array([row[name] for row in LAYOUTS]) for name in LAYOUTS[0]}
    for zero, recompute, sp in itertools.product(range(4), range(3), (False, True)):
        case = cases(zero=zero, recompute=recompute, sp=sp & (several["tp"] > 1), **several)
        result = step_time(case, A100, software=software, exact=zero == recompute == 1)
        assert all(part.shape == (len(LAYOUTS),) for part in each(result))
        assert all((part > -1e-9).all() for part in each(result))
        assert result.total == pytest.approx(np.sum(each(result), axis=0), rel=1e-12)


def test_an_array_of_cases_has_the_times_of_each() -> None:
    several = {name: np.array([row[name] for row in LAYOUTS]) for name in LAYOUTS[0]}
    together = step_time(cases(**several), A100).total
    assert together.tolist() == pytest.approx([total(cases(**row)) for row in LAYOUTS], rel=1e-12)


def test_what_is_not_there_takes_no_time() -> None:
    alone = step_time(cases(dp=1, pp=1, tp=1), A100)
    for name in ("tp", "pp", "bubble", "dp", "recompute"):
        assert getattr(alone, name).item() == 0
    assert (
        step_time(cases(recompute=2), A100).recompute
        > step_time(cases(recompute=1), A100).recompute
    )


def test_the_stack_is_a_factor_over_all_parts() -> None:
    once, twice = step_time(cases(), A100), step_time(cases(), A100, stack=2.0)
    assert np.array(each(twice)) == pytest.approx(2 * np.array(each(once)))


RESOURCES = ("memory_bytes_per_s", "link_bytes_per_s", "nic_bytes_per_s", "host_bytes_per_s")


@pytest.mark.parametrize("resource", RESOURCES)
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_more_of_a_resource_is_never_slower(resource: str, layout: dict[str, int]) -> None:
    case = cases(offload=True, **layout)
    faster = dataclasses.replace(A100, **{resource: 2 * getattr(A100, resource)})
    assert total(case, faster) <= total(case)
    assert total(cases(offload=True, dp=16, pp=8, tp=8), faster) < total(
        cases(offload=True, dp=16, pp=8, tp=8)
    )


def test_a_faster_gpu_is_faster() -> None:
    peaks = {dtype: 2 * value for dtype, value in A100.peak_flops_per_s.items()}
    assert total(cases(), dataclasses.replace(A100, peak_flops_per_s=peaks)) < total(cases())
    v100, a100, h100, h200, b200 = (
        find_hardware(name)
        for name in ("v100-32gb", "a100-80gb", "h100-80gb", "h200-141gb", "b200-180gb")
    )
    times = [total(cases(), gpu) for gpu in (v100, a100, h100, h200, b200)]
    assert times == sorted(times, reverse=True)
    assert len(GPUS) == 6


def test_overlap_and_early_stop_save_time() -> None:
    def seconds(name: str, **traits: bool) -> float:
        software = dataclasses.replace(find_software(name), **traits)
        return total(cases(recompute=2, dp=16), software=software)

    for trait in ("tp_overlap", "dp_overlap"):
        assert seconds("torch", **{trait: True}) < seconds("torch", **{trait: False})
    assert seconds("torch", reentrant=False) < seconds("torch", reentrant=True)


@pytest.mark.parametrize("row", NARAYANAN_2021, ids=lambda row: row.name)
def test_the_closed_form_is_the_simulated_bubble_of_published_runs(row) -> None:
    case = cases(
        num_layers=row.num_layers,
        num_heads=row.num_heads,
        d_model=row.d_model,
        d_ff=4 * row.d_model,
        global_batch=row.global_batch // 8 if row.pp > 16 else row.global_batch,
        micro_batch=row.micro_batch,
        dp=row.dp,
        pp=row.pp,
        tp=row.tp,
        virtual_stages=row.virtual_stages,
        recompute=2,
    )
    quick, exact = step_time(case, A100), step_time(case, A100, exact=True)
    if row.virtual_stages == 1 or case.micro_batches % row.pp == 0:
        assert quick.total == pytest.approx(exact.total, rel=1e-9)
    else:
        assert quick.total == pytest.approx(exact.total, rel=0.05)


@pytest.mark.parametrize("p,m,v", [(1, 4, 1), (4, 2, 1), (4, 9, 1), (4, 8, 2), (3, 12, 4)])
@pytest.mark.parametrize("head_s", [(0.0, 0.0), (0.2, 0.4), (3.0, 6.0)])
def test_the_closed_form_is_the_simulation(p: int, m: int, v: int, head_s) -> None:
    exact = bubble.makespan(p, m, v, forward_s=1.0, backward_s=2.0, head_s=head_s)
    waits = bubble.closed_form(np.array(p), np.array(3.0)).item()
    assert m * (v * 3.0 + sum(head_s)) + waits == pytest.approx(exact, rel=1e-12)


def test_ops_can_have_times_of_their_own() -> None:
    """The last rank is twice as slow: the others wait for it."""
    schedule = build_schedule("1f1b", 2, 4)

    def cost(rank: int, op: Op) -> float:
        return (1.0 if op.kind == "F" else 2.0) * (1 + rank)

    timeline = simulate(schedule, cost)
    assert timeline.makespan == 3 + 4 * 6
    assert timeline.bubble == pytest.approx(27 / ((12 + 24) / 2) - 1)


def test_a_width_off_64_costs_what_was_published() -> None:
    """14,400 wide over tp 8 is 1,800 a rank: 22 to 25 % slower per FLOP than 13,824."""
    per_flop = []
    for d_model, heads in ((13_824, 96), (14_400, 96)):
        case = cases(d_model=d_model, d_ff=4 * d_model, num_heads=heads, tp=8)
        forward, backward = Kernels(cases=case, hardware=A100, constants=CONSTANTS).layer()
        per_flop.append((forward + backward).total.item() / d_model**2)
    assert 1.21 < per_flop[1] / per_flop[0] < 1.26


def test_a_product_is_never_faster_than_the_peak_or_the_memory() -> None:
    kernels = Kernels(cases=cases(), hardware=A100, constants=CONSTANTS)
    for m, k, n in itertools.product((1, 64, 1000, 4096), (8, 128, 4096), (64, 333, 8192)):
        seconds = kernels.gemm(np.array(m), np.array(k), np.array(n)).item()
        assert seconds > 2 * m * k * n / A100.peak_flops_per_s["bf16"]
        assert seconds > 2 * (m * k + k * n + m * n) / A100.memory_bytes_per_s


def test_runs_of_the_trainer_are_cases_too() -> None:
    result = step_time(Cases.of([(nano(), 1), (nano(), 4)]), A100)
    assert result.total.shape == (2,)
    assert result.dp[0] == 0 < result.dp[1]
