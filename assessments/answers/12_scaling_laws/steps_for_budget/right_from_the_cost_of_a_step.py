# right
import math


def steps_for_budget(flops, num_layers, d_model, vocab_size, batch_tokens):
    """Forward 2 and backward 4 FLOPs for each entry, matrix by matrix."""
    block = 3 * d_model**2 + d_model**2 + 2 * 4 * d_model**2
    step = (2 + 4) * (num_layers * block + vocab_size * d_model) * batch_tokens
    return math.floor(flops / step)
