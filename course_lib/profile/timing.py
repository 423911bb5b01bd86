"""Measure how fast this device can multiply matrices: the 100 % of MFU.

MFU, model FLOPs utilisation, is the FLOPs a model needs divided by those the device could have
done in the same time (Chowdhery et al. 2022, arXiv:2204.02311, appendix B). Data sheets name a
peak for GPUs; for the CPU cores a job was given nobody does, so we measure: a large square matrix
product, repeated for a fraction of a second, the best repeat counts. Left out on purpose:
memory and network speed.
"""

import time

import torch


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all it was told: GPU calls return before the work is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure_peak_flops(
    device: torch.device, dtype: torch.dtype = torch.float32, *, duration_s: float = 0.25
) -> float:
    """Return the best matrix-product rate of this device, in FLOP/s, with the threads in use.

    Args:
        device: where to multiply.
        dtype: element type of both (n, n) factors; n is 1024 on a CPU and 8192 on a GPU.
        duration_s: how long to repeat, in seconds; the product is run at least three times.
    """
    n = 8192 if device.type == "cuda" else 1024
    a = torch.randn(n, n, device=device).to(dtype)
    b = torch.randn(n, n, device=device).to(dtype)
    # The first product also pays for starting threads and choosing a kernel.
    out = a @ b
    synchronize(device)
    best_s = float("inf")
    end_s = time.perf_counter() + duration_s
    repeats = 0
    while repeats < 3 or time.perf_counter() < end_s:
        start_s = time.perf_counter()
        torch.matmul(a, b, out=out)
        synchronize(device)
        best_s = min(best_s, time.perf_counter() - start_s)
        repeats += 1
    return 2 * n**3 / best_s
