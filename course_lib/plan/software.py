"""What a training program overlaps, repeats and fuses: half of why two papers differ. No torch.

The same GPUs and the same layout take a fifth longer in one program than in another, so what the
program does has to be said. What no trait explains is the `stack` factor of step_time.py.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Software:
    """The traits of a training program that step times depend on."""

    name: str
    """By which `--software` finds it."""
    tp_overlap: bool
    """Whether weight gradients are computed while the tp sums of backward travel."""
    dp_overlap: bool
    """Whether gradients (zero 3: and weights) travel while others are computed."""
    reentrant: bool
    """Whether full recomputation repeats all of a block, not only up to what backward needs."""
    fused_attention: bool
    """Whether attention keeps no T x T weights; what Cases says counts, this is for tables."""
    dropout: bool
    """Whether its published runs used dropout; likewise."""
    grad_bytes: int
    """Of a gradient as it was summed and sent; likewise."""
    source: str
    """Where its traits are from."""


SOFTWARE = (
    Software(
        name="megatron-2021",
        tp_overlap=False,
        dp_overlap=False,
        reentrant=True,
        fused_attention=False,
        dropout=True,
        grad_bytes=2,
        source="Megatron-LM of arXiv:2104.04473 (SC'21), and Megatron-DeepSpeed, which is from it",
    ),
    Software(
        name="megatron-2022",
        tp_overlap=True,
        dp_overlap=False,
        reentrant=True,
        fused_attention=False,
        dropout=True,
        grad_bytes=4,
        source="Megatron-LM of arXiv:2205.05198: sums hidden (Table 4), dp not (section 6.3), 18 "
        "bytes of state per parameter (Figure 1)",
    ),
    Software(
        name="torch",
        tp_overlap=False,
        dp_overlap=True,
        reentrant=False,
        fused_attention=True,
        dropout=False,
        grad_bytes=4,
        source="PyTorch 2: FSDP or DDP, SDPA, non-reentrant checkpoints; this course's trainer too",
    ),
)


def find_software(name: str) -> Software:
    """Return the program called `name`, such as `torch`.

    Raises:
        ValueError: none is called so; the message lists the names.
    """
    found = {each.name: each for each in SOFTWARE}
    if name not in found:
        raise ValueError(f"no software is called {name!r}: use one of {', '.join(found)}")
    return found[name]


TORCH = find_software("torch")
