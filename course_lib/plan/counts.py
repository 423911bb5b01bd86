"""Count parameters and floating-point operations of a GPT from its shape alone.

A matrix with n entries costs a token 2n FLOPs forward (a multiplication and an addition each) and
twice that backward, 6n in all. Attention adds, per layer and token, the scores and the weighted
sum: 2 x 2 T D forward, 12 T D with backward. So

    FLOPs per token = 6 N + 12 L T D,    N = entries of all matrices, the tied head among them

as in Narayanan et al. 2021 (arXiv:2104.04473, section 5.1), whose equation (3) counts a step with
every layer computed forwards twice. The causal half of attention is not
subtracted, as is the custom, so that MFU can be compared with published numbers. Left out on
purpose: layer norms, softmax, GELU and embedding look-ups (below a percent).
"""

from typing import TYPE_CHECKING, Any, TypeVar

from course_lib.config import ModelConfig

if TYPE_CHECKING:  # a login node counts parameters without numpy
    from numpy.typing import NDArray


def matmul_parameters(model: ModelConfig) -> int:
    """Return N, the entries of all matrices that tokens are multiplied with, once each."""
    attention = 4 * model.d_model**2  # query, key, value and the projection back
    mlp = 2 * model.d_model * model.mlp_size
    # Tied or not, the head is multiplied with; the token table is only looked up in.
    return model.num_layers * (attention + mlp) + model.vocab_size * model.d_model


def num_parameters(model: ModelConfig) -> int:
    """Return all parameters: matrices, biases, layer norms and position embeddings."""
    d, f = model.d_model, model.mlp_size
    biases_per_layer = 3 * d + d + f + d if model.bias else 0
    norms = (2 * model.num_layers + 1) * (2 * d if model.bias else d)
    tables = model.seq_len * d + (0 if model.tied_head else model.vocab_size * d)
    return matmul_parameters(model) + model.num_layers * biases_per_layer + norms + tables


def flops_per_token(model: ModelConfig) -> int:
    """Return the FLOPs that training spends on one token, forward and backward."""
    attention = 12 * model.num_layers * model.seq_len * model.d_model
    return 6 * matmul_parameters(model) + attention


def operator_flops(model: ModelConfig) -> dict[str, int]:
    """Return the forward FLOPs of a token by operator, over all layers.

    A matrix with n entries 2 n, each of the two products of attention 2 T D; backward has twice
    as many, so three times their sum is `flops_per_token`.
    """
    d, f, layers = model.d_model, model.mlp_size, model.num_layers
    return {
        "query, key, value": layers * 2 * 3 * d**2,
        "scores": layers * 2 * model.seq_len * d,
        "weighted sum": layers * 2 * model.seq_len * d,
        "projection": layers * 2 * d**2,
        "mlp up": layers * 2 * d * f,
        "mlp down": layers * 2 * d * f,
        "head": 2 * model.vocab_size * d,
    }


Number = TypeVar("Number", int, float, "NDArray[Any]")


def step_flops(
    global_batch: Number,
    seq_len: Number,
    num_layers: Number,
    d_model: Number,
    vocab_size: Number,
    *,
    recompute: bool = True,
) -> Any:
    """Return the FLOPs of a step on all GPUs of a GPT whose MLP is 4 d_model wide; arrays too.

    96 B s l h^2 (1 + s / 6h + V / 16lh)    every layer recomputed (arXiv:2104.04473, equation 3)
    72 B s l h^2 (1 + s / 6h + V / 12lh)    nothing recomputed: B s times `flops_per_token`
    """
    factor = 96.0 if recompute else 72.0
    shape = 1 + seq_len / (6 * d_model) + 6 * vocab_size / (factor * num_layers * d_model)
    return factor * global_batch * seq_len * num_layers * d_model**2 * shape
