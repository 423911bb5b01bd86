"""GPUs and constants: names, units that fit each other, a machine as it was measured."""

import dataclasses

import pytest

from course_lib.plan.calibration import AlphaBeta, Calibration, Collective, Gemm
from course_lib.plan.constants import CONSTANTS, Constants, constants_hash
from course_lib.plan.hardware import GPUS, Hardware, find_hardware, this_machine
from course_lib.plan.software import SOFTWARE, find_software


def collective(num_nodes: int, bytes_per_s: float) -> Collective:
    return Collective(
        operation="all_reduce",
        axis="dp",
        num_ranks=2,
        num_nodes=num_nodes,
        bytes_sent=(1, 2),
        time_s=(1.0, 2.0),
        fit=AlphaBeta(alpha_s=1e-3, beta_s_per_byte=1 / bytes_per_s, residuals=(0.0, 0.0)),
    )


def calibration(*collectives: Collective, gemms: tuple[Gemm, ...] | None = None) -> Calibration:
    slow = Gemm(dtype="float32", m=2, k=3, n=4, flops_per_s=1e10)
    fast = dataclasses.replace(slow, m=256, flops_per_s=5e10)
    return Calibration(
        machine="An invented processor",
        hosts=("node1", "node1", "node2", "node2"),
        date="2026-11-23T10:00:00+00:00",
        torch_version="2.13.0",
        device="cpu",
        threads_per_rank=1,
        collectives=collectives,
        gemms=(slow, fast) if gemms is None else gemms,
        copy_bytes_per_s=1e10,
    )


@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.name)
def test_a_gpu_is_found_by_its_name_and_its_units_fit(gpu: Hardware) -> None:
    assert find_hardware(gpu.name) is gpu
    peaks = gpu.peak_flops_per_s
    assert peaks.keys() == {"float32", "bf16", "fp16"}
    assert 1e13 < peaks["float32"] <= peaks["bf16"] <= peaks["fp16"] < 1e16
    assert 16e9 <= gpu.memory_bytes < 1e12
    # Memory is faster than a link, a link than the network, and a matrix product of a few hundred
    # numbers a side is what it takes to be worth its reads.
    assert gpu.memory_bytes_per_s > gpu.link_bytes_per_s > gpu.nic_bytes_per_s > 1e9
    assert 50 < peaks["fp16"] / gpu.memory_bytes_per_s < 1000
    assert 0 < gpu.price_per_hour[0] < gpu.price_per_hour[1]


@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.name)
def test_each_number_has_a_source(gpu: Hardware) -> None:
    numbers = {field.name for field in dataclasses.fields(gpu)} - {"name", "sources"}
    assert gpu.sources.keys() == numbers
    assert all(gpu.sources.values())


def test_wrong_names_are_answered_with_the_right_ones() -> None:
    with pytest.raises(ValueError, match=r"'a100'.*a100-40gb, a100-80gb, h100-80gb"):
        find_hardware("a100")
    with pytest.raises(ValueError, match=r"'megatron'.*megatron-2021, megatron-2022, torch"):
        find_software("megatron")
    assert [find_software(each.name) for each in SOFTWARE] == list(SOFTWARE)


def test_this_machine_is_the_best_that_was_measured() -> None:
    machine = this_machine(calibration(collective(1, 3e9), collective(1, 4e9), collective(2, 1e7)))
    assert machine.peak_flops_per_s == {"float32": 5e10, "bf16": 5e10, "fp16": 5e10}
    assert machine.link_bytes_per_s == pytest.approx(4e9)
    assert machine.nic_bytes_per_s == pytest.approx(1e7)
    assert machine.nic_latency_s == 1e-3
    assert machine.gpus_per_node == 2


def test_sixteen_bits_of_this_machine_are_bf16() -> None:
    slow = Gemm(dtype="bf16", m=2, k=3, n=4, flops_per_s=1e9)
    fast = dataclasses.replace(slow, dtype="float32", flops_per_s=1e10)
    peaks = this_machine(calibration(gemms=(slow, fast))).peak_flops_per_s
    assert peaks == {"float32": 1e10, "bf16": 1e9, "fp16": 1e9}


def test_one_kind_of_link_stands_for_both() -> None:
    machine = this_machine(calibration(collective(2, 1e7)))
    assert machine.link_bytes_per_s == machine.nic_bytes_per_s == pytest.approx(1e7)


def test_a_machine_without_products_is_refused() -> None:
    with pytest.raises(ValueError, match="no matrix products: measure again"):
        this_machine(calibration(gemms=()))


def test_the_hash_names_the_constants() -> None:
    assert constants_hash() == constants_hash(Constants()) == constants_hash(CONSTANTS)
    for field in dataclasses.fields(Constants):
        value = getattr(CONSTANTS, field.name)
        other = dataclasses.replace(CONSTANTS, **{field.name: value * 1.001})
        assert constants_hash(other) != constants_hash()
