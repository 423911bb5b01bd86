"""The planner's fitted constants, all of them, and a hash that names them. No torch.

Each has a physical meaning: a share of a peak that kernels reach, or a time that a processor
takes to ask for work. A share of 1 is the peak of hardware.py. CONSTANTS were fitted by least mean
size of log(predicted / measured) on A100s and H100s; tests/benchmarks/planner.py says on which
tables, and scores them on tables that they were not fitted on. The two shares of .88 are the
highest that the fit was allowed.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Constants:
    """Shares without unit, times in seconds, sizes in numbers of a matrix."""

    gemm_share: float = 0.82
    """Of the peak, by a large, well-shaped matrix product."""
    gemm_after_ampere: float = 0.79
    """Of that, on Hopper and newer, which their power limit throttles."""
    off_64_share: float = 0.82
    """Of that, where a width is no multiple of 64; not fitted: 1,800 against 1,728 wide is
    published to be 22 to 25 % slower."""
    off_8_share: float = 0.79
    """Of that again, where one is no multiple of 8, which tensor cores want."""
    loss_bytes: float = 30.0
    """Read and written per logit by the loss; half as much again backward."""
    attention_share: float = 0.30
    """Of the peak, by a fused attention kernel, over the causal half of the scores."""
    attention_after_ampere: float = 0.60
    """Of that, on Hopper and newer, whose tensor cores the kernel does not know."""
    memory_share: float = 0.88
    """Of the memory's bandwidth, by element-wise kernels."""
    link_share: float = 0.88
    """Of a link inside the node, by a large collective (NCCL's own test on 8 A100: 229 of 300
    GB/s; a step hides more)."""
    nic_share: float = 0.60
    """Of the network card, by a large collective."""
    tp_hidden: float = 0.60
    """Share of the backward's tp traffic that weight gradients hide, where software overlaps."""
    dp_hidden: float = 0.18
    """Share of dp traffic that computing hides, where the software overlaps it."""
    dispatch_layer_s: float = 1.05e-3
    """Time the host takes to launch one pass (forward, backward, again) of a layer."""
    dispatch_collective_s: float = 36e-6
    """Time the host takes to launch one collective of a layer."""
    dispatch_micro_batch_s: float = 0.66e-3
    """Time the host takes per micro-batch and chunk, besides its layers."""
    dispatch_step_s: float = 1.8e-3
    """Time the host takes per step: data, logging, loss scale, norm."""


CONSTANTS = Constants()
AS_MEASURED = Constants(
    gemm_share=1.0,
    off_64_share=1.0,
    off_8_share=1.0,
    attention_share=1.0,
    memory_share=1.0,
    link_share=1.0,
    nic_share=1.0,
    dispatch_layer_s=0.0,
    dispatch_collective_s=0.0,
    dispatch_micro_batch_s=0.0,
    dispatch_step_s=0.0,
)
"""For a machine whose peaks are what was measured on it (hardware.py's `this_machine`)."""


def constants_hash(constants: Constants = CONSTANTS) -> str:
    """Return eight hex digits that change with any of the constants."""
    text = json.dumps(dataclasses.asdict(constants), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
