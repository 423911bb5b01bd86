"""What a GPU can do at best, from its maker's sheets; or this machine, as measured. No torch.

Peaks are dense (without sparsity), bandwidths are in one direction. What kernels reach of a peak
stands in constants.py. Prices are what clouds and resellers asked per GPU and hour, as a range:
they differ fivefold between sellers and fall, so give your own where you have one.
"""

from dataclasses import dataclass

from course_lib.plan.calibration import AlphaBeta, Calibration


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """One GPU, and the node it is in."""

    name: str
    """By which `--gpu` finds it."""
    peak_flops_per_s: dict[str, float]
    """By dtype: float32, bf16, fp16."""
    tensor_cores: int
    """Their generation: 1 Volta, 3 Ampere, 4 Hopper, 5 Blackwell; 0 without."""
    multiprocessors: int
    """Tiles of a matrix product that are worked on at a time (SMs)."""
    memory_bytes: float
    """Of its own memory (HBM), in bytes."""
    memory_bytes_per_s: float
    """Bytes per second between it and the multiprocessors."""
    link_bytes_per_s: float
    """To the other GPUs of the node, one direction."""
    link_latency_s: float
    """Time of a collective or a send inside the node, without content."""
    nic_bytes_per_s: float
    """Out of the node, per GPU, one direction."""
    nic_latency_s: float
    """The same between nodes."""
    host_bytes_per_s: float
    """To the host's memory, per GPU, one direction."""
    gpus_per_node: int
    """That the links connect."""
    power_w: float
    """Of the GPU at full load."""
    price_per_hour: tuple[float, float]
    """Low and high, USD per GPU."""
    sources: dict[str, str]
    """Where a field's number is from, by its name."""


GB, TFLOPS = 1e9, 1e12
_NCCL = "rounded: NCCL sums 1 MB over 8 A100s in 93 us, over 2 in 44 us"
_PRICES = "list prices of cloud GPU sellers as of 2025, rounded: low is a reseller, high on demand"


def _gpu(
    name: str,
    *,
    float32: float,
    half: float,
    bf16: float | None = None,
    tensor_cores: int,
    multiprocessors: int,
    memory_gb: float,
    memory_gb_per_s: float,
    link_gb_per_s: float,
    nic_gb_per_s: float,
    host_gb_per_s: float,
    power_w: float,
    price_per_hour: tuple[float, float],
    sheet: str,
    node: str,
) -> Hardware:
    """Return a GPU of a node of eight, in the units of its sheet: TFLOP/s, GB, GB/s."""
    return Hardware(
        name=name,
        peak_flops_per_s={
            "float32": float32 * TFLOPS,
            "bf16": (half if bf16 is None else bf16) * TFLOPS,
            "fp16": half * TFLOPS,
        },
        tensor_cores=tensor_cores,
        multiprocessors=multiprocessors,
        memory_bytes=memory_gb * GB,
        memory_bytes_per_s=memory_gb_per_s * GB,
        link_bytes_per_s=link_gb_per_s * GB,
        link_latency_s=50e-6,
        nic_bytes_per_s=nic_gb_per_s * GB,
        nic_latency_s=60e-6,
        host_bytes_per_s=host_gb_per_s * GB,
        gpus_per_node=8,
        power_w=power_w,
        price_per_hour=price_per_hour,
        sources={
            "peak_flops_per_s": sheet,
            "tensor_cores": sheet,
            "multiprocessors": "as the device reports it",
            "memory_bytes": sheet,
            "memory_bytes_per_s": sheet,
            "link_bytes_per_s": sheet + "; half of the sum of both directions",
            "link_latency_s": _NCCL,
            "nic_bytes_per_s": node,
            "nic_latency_s": _NCCL,
            "host_bytes_per_s": sheet,
            "gpus_per_node": node,
            "power_w": sheet,
            "price_per_hour": _PRICES,
        },
    )


_A100_SHEET = "NVIDIA A100 Tensor Core GPU data sheet, SXM4"
_HOPPER = "NVIDIA {} Tensor Core GPU data sheet, SXM5, dense"
GPUS = (
    _gpu(
        "v100-32gb",
        float32=15.7,
        half=125,
        bf16=15.7,  # no bf16 in its tensor cores
        tensor_cores=1,
        multiprocessors=80,
        memory_gb=32,
        memory_gb_per_s=900,
        link_gb_per_s=150,
        nic_gb_per_s=6.25,
        host_gb_per_s=16,
        power_w=300,
        price_per_hour=(0.4, 3.1),
        sheet="NVIDIA V100 data sheet, SXM2",
        node="DGX-1: 4 x 100 Gbit/s for 8 GPUs",
    ),
    _gpu(
        "a100-40gb",
        float32=19.5,
        half=312,
        tensor_cores=3,
        multiprocessors=108,
        memory_gb=40,
        memory_gb_per_s=1555,
        link_gb_per_s=300,
        nic_gb_per_s=25,
        host_gb_per_s=32,
        power_w=400,
        price_per_hour=(0.8, 4.1),
        sheet=_A100_SHEET,
        node="DGX A100: 8 x 200 Gbit/s for 8 GPUs",
    ),
    _gpu(
        "a100-80gb",
        float32=19.5,
        half=312,
        tensor_cores=3,
        multiprocessors=108,
        memory_gb=80,
        memory_gb_per_s=2039,
        link_gb_per_s=300,
        nic_gb_per_s=25,
        host_gb_per_s=32,
        power_w=400,
        price_per_hour=(1.1, 5.1),
        sheet=_A100_SHEET,
        node="DGX A100, as in Selene: 8 x 200 Gbit/s for 8 GPUs",
    ),
    _gpu(
        "h100-80gb",
        float32=67,
        half=989.4,
        tensor_cores=4,
        multiprocessors=132,
        memory_gb=80,
        memory_gb_per_s=3350,
        link_gb_per_s=450,
        nic_gb_per_s=50,
        host_gb_per_s=64,
        power_w=700,
        price_per_hour=(1.9, 7.0),
        sheet=_HOPPER.format("H100"),
        node="DGX H100: 8 x 400 Gbit/s for 8 GPUs",
    ),
    _gpu(
        "h200-141gb",
        float32=67,
        half=989.4,
        tensor_cores=4,
        multiprocessors=132,
        memory_gb=141,
        memory_gb_per_s=4800,
        link_gb_per_s=450,
        nic_gb_per_s=50,
        host_gb_per_s=64,
        power_w=700,
        price_per_hour=(2.3, 10.6),
        sheet=_HOPPER.format("H200"),
        node="DGX H200: 8 x 400 Gbit/s for 8 GPUs",
    ),
    _gpu(
        "b200-180gb",
        float32=75,
        half=2250,
        tensor_cores=5,
        multiprocessors=148,
        memory_gb=180,
        memory_gb_per_s=8000,
        link_gb_per_s=900,
        nic_gb_per_s=50,
        host_gb_per_s=64,
        power_w=1000,
        price_per_hour=(3.0, 14.0),
        sheet="NVIDIA DGX and HGX B200 data sheets, an eighth of the node, dense",
        node="DGX B200: 8 x 400 Gbit/s for 8 GPUs",
    ),
)


def find_hardware(name: str) -> Hardware:
    """Return the GPU called `name`, such as `a100-80gb`.

    Raises:
        ValueError: none is called so; the message lists the names.
    """
    found = {gpu.name: gpu for gpu in GPUS}
    if name not in found:
        raise ValueError(f"no GPU is called {name!r}: use one of {', '.join(found)}")
    return found[name]


def this_machine(calibration: Calibration) -> Hardware:
    """Return what `workshop calibrate` measured, as one GPU of a node.

    Peaks are the fastest product of each dtype, links the widest measured ones; an axis that was
    measured in one node only says nothing of the network, and the other way round: then the one
    stands for both. Memory, power and price are not measured: 0, so a caller has to ask for them.
    Its peaks are what kernels reach: plan with the constants AS_MEASURED.

    Raises:
        ValueError: no matrix product was measured.
    """
    peaks: dict[str, float] = {}
    for gemm in calibration.gemms:
        peaks[gemm.dtype] = max(gemm.flops_per_s, peaks.get(gemm.dtype, 0.0))
    if not peaks:
        raise ValueError("the calibration has no matrix products: measure again")
    best = max(peaks.values())
    half = peaks.get("bf16", best)  # fp16 is not measured
    link = _link(calibration, within=True)
    nic = _link(calibration, within=False)
    measured = f"workshop calibrate, {calibration.date}"
    nodes = len(set(calibration.hosts))
    return Hardware(
        name=calibration.machine,
        peak_flops_per_s={"float32": peaks.get("float32", best), "bf16": half, "fp16": half},
        tensor_cores=0,
        multiprocessors=1,
        memory_bytes=0.0,
        memory_bytes_per_s=calibration.copy_bytes_per_s,
        link_bytes_per_s=link.bytes_per_s,
        link_latency_s=link.alpha_s,
        nic_bytes_per_s=nic.bytes_per_s,
        nic_latency_s=nic.alpha_s,
        host_bytes_per_s=calibration.copy_bytes_per_s,
        gpus_per_node=max(1, len(calibration.hosts) // nodes),
        power_w=0.0,
        price_per_hour=(0.0, 0.0),
        sources={
            field: measured
            for field in (
                "peak_flops_per_s",
                "memory_bytes_per_s",
                "link_bytes_per_s",
                "link_latency_s",
                "nic_bytes_per_s",
                "nic_latency_s",
                "host_bytes_per_s",
                "gpus_per_node",
            )
        },
    )


def _link(calibration: Calibration, *, within: bool) -> AlphaBeta:
    """Return the widest line inside nodes or between them, or of all where there is none."""
    wanted = [each for each in calibration.collectives if (each.num_nodes == 1) == within]
    lines = [each.fit for each in wanted or calibration.collectives]
    if not lines:  # one rank: nothing is ever sent
        return AlphaBeta(alpha_s=0.0, beta_s_per_byte=0.0, residuals=(0.0,))
    return max(lines, key=lambda line: line.bytes_per_s)
