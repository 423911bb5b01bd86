"""Runs that were published with their numbers, from 1.7 billion parameters to a trillion. No torch.

Narayanan et al. 2021, "Efficient Large-Scale Language Model Training on GPU Clusters Using
Megatron-LM" (arXiv:2104.04473), Table 1: weak scaling on A100s with 80 GB, fp16, every activation
recomputed, so that the FLOP/s count the forward pass twice. Micro-batches and virtual stages are
not in the table but in the script that the authors left with their code (NVIDIA/Megatron-LM,
examples/academic_paper_scripts/sc21/run_table_1.sh). Lab 02 computes from it how long training
takes.
"""

from dataclasses import dataclass

from course_lib.config import Layout, ModelConfig
from course_lib.plan.counts import step_flops

VOCAB_SIZE, SEQ_LEN = 51_200, 2_048
"""Of all ten models (section 5 of the paper)."""


@dataclass(frozen=True, kw_only=True)
class PublishedRun:
    """A row of the table."""

    parameters: float
    """As the table rounds them."""
    num_heads: int
    """Of attention."""
    d_model: int
    """Hidden size."""
    num_layers: int
    """Blocks."""
    tp: int
    """Tensor-parallel ranks."""
    pp: int
    """Pipeline-parallel ranks."""
    num_gpus: int
    """All of them."""
    global_batch: int
    """Sequences per step."""
    micro_batch: int
    """Sequences that a rank works on at a time."""
    virtual_stages: int
    """Groups of layers per pipeline rank; 1: the schedule is not interleaved."""
    flops_per_gpu: float
    """Achieved by each GPU, FLOP/s, the recomputed forward pass included."""

    @property
    def name(self) -> str:
        """Return the size in words, such as 1.7B."""
        return f"{self.parameters / 1e9:g}B"

    @property
    def model(self) -> ModelConfig:
        """Return the shape of the model."""
        return ModelConfig(
            vocab_size=VOCAB_SIZE,
            seq_len=SEQ_LEN,
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            d_model=self.d_model,
        )

    @property
    def layout(self) -> Layout:
        """Return how the GPUs were arranged."""
        return Layout(
            dp=self.num_gpus // (self.tp * self.pp),
            pp=self.pp,
            tp=self.tp,
            virtual_stages=self.virtual_stages,
            schedule="interleaved" if self.virtual_stages > 1 else "1f1b",
            recompute="full",
        )

    @property
    def dp(self) -> int:
        """Return the number of replicas of the model."""
        return self.num_gpus // (self.tp * self.pp)

    @property
    def step_flops(self) -> float:
        """Return the FLOPs of a step on all GPUs, equation (3), the recomputation counted."""
        return step_flops(self.global_batch, SEQ_LEN, self.num_layers, self.d_model, VOCAB_SIZE)

    @property
    def step_s(self) -> float:
        """Return the seconds of a step, from its FLOPs and what each GPU achieved."""
        return self.step_flops / (self.num_gpus * self.flops_per_gpu)


def _row(*numbers: float) -> PublishedRun:
    billions, heads, d_model, layers, tp, pp, gpus, batch, micro, virtual, teraflops = numbers
    return PublishedRun(
        parameters=billions * 1e9,
        num_heads=int(heads),
        d_model=int(d_model),
        num_layers=int(layers),
        tp=int(tp),
        pp=int(pp),
        num_gpus=int(gpus),
        global_batch=int(batch),
        micro_batch=int(micro),
        virtual_stages=int(virtual),
        flops_per_gpu=teraflops * 1e12,
    )


NARAYANAN_2021 = (
    _row(1.7, 24, 2304, 24, 1, 1, 32, 512, 16, 1, 137),
    _row(3.6, 32, 3072, 30, 2, 1, 64, 512, 16, 1, 138),
    _row(7.5, 32, 4096, 36, 4, 1, 128, 512, 16, 1, 142),
    _row(18.4, 48, 6144, 40, 8, 1, 256, 1024, 8, 1, 135),
    _row(39.1, 64, 8192, 48, 8, 2, 512, 1536, 4, 1, 138),
    _row(76.1, 80, 10240, 60, 8, 4, 1024, 1792, 2, 3, 140),
    _row(145.6, 96, 12288, 80, 8, 8, 1536, 2304, 2, 2, 148),
    _row(310.1, 128, 16384, 96, 8, 16, 1920, 2160, 1, 2, 155),
    _row(529.6, 128, 20480, 105, 8, 35, 2520, 2520, 1, 3, 163),
    _row(1008.0, 160, 25600, 128, 8, 64, 3072, 3072, 1, 1, 163),
)
