"""Count parameters and floating-point operations of a GPT from its shape alone.

A matrix with n entries costs a token 2n FLOPs forward (a multiplication and an addition each) and
twice that backward, 6n in all. Attention adds, per layer and token, the scores and the weighted
sum: 2 x 2 T D forward, 12 T D with backward. So

    FLOPs per token = 6 N + 12 L T D,    N = entries of all matrices, the tied head among them

as in Narayanan et al. 2021 (arXiv:2104.04473, section 5.1). The causal half of attention is not
subtracted, as is the custom, so that MFU can be compared with published numbers. Left out on
purpose: layer norms, softmax, GELU, embedding look-ups (below a percent), and recomputation.
"""

from course_lib.config import ModelConfig


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
