"""How many bytes each owner holds on a GPU when it is fullest, for many layouts at once. No torch.

State per parameter of a rank, w bytes a weight and g a gradient (arXiv:1910.02054, section 3.1):

    weights w + gradients g + float32 master 4 + AdamW's two means 8      bf16, g = 2: 16 bytes
    zero 1, 2, 3 cut the last two, also gradients, also weights, into dp parts

Activations per layer and micro-batch (Korthikanti et al. 2022, arXiv:2205.05198, section 4), for
w = 2, F = 4 D, with s b h for T B D and a heads; without dropout and T x T scores it is less:

    s b h (10 + 24 / t + 5 a s / (h t))    sp: 10 / t too;  selective: without 5 a s / h;  full: 2

times the micro-batches under way: pp - r on pipeline rank r of 1F1B, and interleaved as many as
make (1 + (pp - 1) / (pp v)) L layers on the first. Token table and logits are counted only on the
stages that hold them. memory.py has the exact bytes of our own trainer, one run at a time; this
stays up to 10 % below it for `nano` and `small`, with zero 2 up to 16 %. Left out on purpose: what
allocator, CUDA and NCCL take (candidates.py keeps a part of the GPU free for it).
"""

import dataclasses
from dataclasses import dataclass

import numpy as np

from course_lib.plan.cases import FULL, NONE, Array, Cases
from course_lib.plan.shares import FLOAT32_BYTES


@dataclass(frozen=True, kw_only=True, eq=False)
class Owners:
    """Bytes on one GPU at the moment that needs most; each field is an array over the cases."""

    weights: Array
    """What the products are made with."""
    gradients: Array
    """As they are summed and kept."""
    master: Array
    """Weights in float32, where the others have fewer bits."""
    optimizer: Array
    """AdamW's two means."""
    activations: Array
    """What forward keeps for backward, of all micro-batches under way."""
    logits: Array
    """The scores over the vocabulary and their gradient, where the loss is the fullest moment."""
    other: Array
    """What is there for a moment only, where it is not: what is computed again, weights that
    ZeRO 3 fetched, gradients on their way."""

    @property
    def total(self) -> Array:
        """Bytes of all owners."""
        return sum((getattr(self, name) for name in owner_names()), start=np.zeros(()))


def owner_names() -> tuple[str, ...]:
    """Return the owners, in the order of `Owners`."""
    return tuple(field.name for field in dataclasses.fields(Owners))


def bytes_by_owner(cases: Cases, *, stage: Array | int | None = None) -> Owners:
    """Return the bytes of each owner on a GPU, for every case.

    Args:
        cases: the runs; their layouts are taken to be legal (candidates.py).
        stage: the pipeline rank, 0 to pp - 1; left out, the one that needs most: the first, with
            the most micro-batches under way, or the last, with the logits.
    """
    if stage is not None:
        return _on_stage(cases, np.asarray(stage))
    first, last = _on_stage(cases, np.asarray(0)), _on_stage(cases, cases.pp - 1)
    fuller = last.total > first.total
    return Owners(
        **{
            name: np.where(fuller, getattr(last, name), getattr(first, name))
            for name in owner_names()
        }
    )


def layer_parameters(cases: Cases) -> Array:
    """Return the parameters of a block on one tp rank: 12 D^2 / tp and some vectors, if F = 4 D.

    Cut over tp: query, key, value, the projection back, the MLP's two matrices, and the biases of
    those that are cut by columns. Whole on each rank: two biases and two layer norms.
    """
    d, f = cases.d_model, cases.d_ff
    return (4 * d * d + 2 * d * f + 3 * d + f) / cases.tp + 6 * d


def layer_bytes(cases: Cases, recompute: Array | int) -> Array:
    """Return what a block keeps of one micro-batch on one tp rank, in bytes.

    Table 2 of Korthikanti et al. 2022, and besides a few numbers per token: the layer norms'
    statistics, and with fused attention the softmax's sums.
    """
    tokens, w = cases.micro_batch * cases.seq_len, cases.weight_bytes
    x = tokens * cases.d_model * w
    masks = np.where(cases.dropout, tokens * cases.d_model, 0)
    # In front of both norms and of the two first matrices; a mask of a byte behind the others.
    around = (4 * x + 2 * masks + 4 * tokens * w) * _local(cases)
    inside = (4 * x + 2 * tokens * cases.d_ff * w) / cases.tp
    kept = around + inside + np.where(np.equal(recompute, NONE), _core_bytes(cases), 0)
    return np.where(np.equal(recompute, FULL), x * _local(cases), kept)


def _core_bytes(cases: Cases) -> Array:
    """Return what attention keeps between q, k, v and its result."""
    rows = cases.micro_batch * cases.seq_len * cases.num_heads / cases.tp
    w = cases.weight_bytes
    scores = rows * cases.seq_len * (w + np.where(cases.dropout, 1 + w, 0))
    return np.where(cases.fused_attention, rows * FLOAT32_BYTES, scores)


def _local(cases: Cases) -> Array:
    """Return the share of the tokens that a tp rank keeps between the matrices."""
    return np.where(cases.sp, 1 / cases.tp, 1.0)


def _on_stage(cases: Cases, stage: Array) -> Owners:
    w, g = cases.weight_bytes, cases.grad_bytes
    first, last = stage == 0, stage == cases.pp - 1
    layer, table = layer_parameters(cases), _table_parameters(cases)
    numbers = cases.layers_per_stage * layer + first * (table + cases.seq_len * cases.d_model)
    # The head is the first stage's table only where that is here.
    own_head = last & ~(cases.tied_head & (cases.pp == 1))
    numbers = numbers + last * 2 * cases.d_model + own_head * table

    shares = [np.where(cases.zero >= least, cases.dp, 1) for least in range(4)]
    on_gpu = np.where(cases.offload, 0, 1) / shares[1]
    x_local = cases.micro_batch * cases.seq_len * cases.d_model * _local(cases)
    under_way = _chunks_under_way(cases, stage)
    of_layers = under_way * (cases.layers_per_stage / cases.virtual_stages)
    activations = of_layers * layer_bytes(cases, cases.recompute)
    # The embedding's dropout mask; the last norm's input and the head's.
    passes = np.minimum(cases.pp, cases.micro_batches)
    activations = activations + first * np.where(cases.dropout, passes * x_local, 0)
    activations = activations + last * 2 * x_local * w

    tokens = cases.micro_batch * cases.seq_len
    # They and their gradient; between tp ranks 16-bit scores also as a float32 copy, elsewhere the
    # loss copies a few rows at a time.
    copied = np.where((w < FLOAT32_BYTES) & (cases.tp > 1), FLOAT32_BYTES, 0)
    logits = last * tokens * _padded_vocab(cases) / cases.tp * (2 * w + copied)
    moment = _passing_bytes(cases) + np.where(cases.zero == 3, (first | last) * table * w, 0)
    at_loss = logits > moment
    zero = np.zeros(np.shape(at_loss))
    return Owners(
        weights=numbers * w / shares[3],
        gradients=numbers * g / shares[2],
        master=np.where(w < FLOAT32_BYTES, FLOAT32_BYTES, 0) * numbers * on_gpu,
        optimizer=2 * FLOAT32_BYTES * numbers * on_gpu,
        activations=activations,
        logits=np.where(at_loss, logits, zero),
        other=np.where(at_loss, zero, moment),
    )


def _chunks_under_way(cases: Cases, stage: Array) -> Array:
    """Return how many (micro-batch, chunk) a pipeline rank keeps at most (see schedule.py)."""
    p, v, behind = cases.pp, cases.virtual_stages, cases.pp - 1 - stage
    most = np.where(v > 1, 2 * behind + (v - 1) * p + 1, behind + 1)
    return np.minimum(most, cases.micro_batches * v)


def _passing_bytes(cases: Cases) -> Array:
    """Return what backward of a block needs while it is worked on, in bytes.

    The gradients of its input and of its MLP's hidden layer, that of a matrix, what is computed
    again, and with ZeRO three layers' gradients, collected, sent and received (2, 3), and its
    weights and the next one's (3).
    """
    tokens, w = cases.micro_batch * cases.seq_len, cases.weight_bytes
    d, f = cases.d_model, cases.d_ff
    gradients = (tokens * d + (tokens + d) * f / cases.tp) * w
    again = layer_bytes(cases, NONE) - layer_bytes(cases, cases.recompute)
    layer, shared = layer_parameters(cases), cases.dp > 1
    whole = np.where((cases.zero >= 2) & shared, 3 * layer * cases.grad_bytes, 0)
    fetched = np.where((cases.zero == 3) & shared, 2 * layer * w, 0)
    return gradients + again + whole + fetched


def _padded_vocab(cases: Cases) -> Array:
    """Return the vocabulary, rounded up to a multiple of tp."""
    return -(-cases.vocab_size // cases.tp) * cases.tp


def _table_parameters(cases: Cases) -> Array:
    """Return a rank's part of the token table."""
    return _padded_vocab(cases) * cases.d_model / cases.tp
