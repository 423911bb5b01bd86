"""GPT on one device: the model that every layout trains, and that no layout changes.

    x = token table[tokens] + position table
    x = x + attention(norm(x));  x = x + mlp(norm(x))        for each of L blocks
    logits = norm(x) @ token table^T                         (tied head)

as GPT-2 has it (Radford et al. 2019): norms before each part, GELU, learned positions. Lab 02
builds it. Left out on purpose: dropout (one pass over the data cannot overfit much), and every
thought of ranks: parallelism is applied from outside, in course_lib/parallel.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.config import ModelConfig


class Attention(nn.Module):
    """Causal self-attention: (B, T, D) -> (B, T, D)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.head_size = config.head_size
        # Query, key and value in one product: one large matrix keeps the cores busier than three.
        self.qkv = nn.Linear(config.d_model, 3 * config.d_model)
        self.out = nn.Linear(config.d_model, config.d_model)

    def forward(self, x: Tensor) -> Tensor:
        # (B, T, 3D) -> three times (B, H, T, K). The number of heads follows from the width of
        # what qkv returns, so the same lines serve a rank that holds only some of the heads.
        q, k, v = (
            part.unflatten(-1, (-1, self.head_size)).transpose(1, 2)
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Two layers applied to each token alone: (B, T, D) -> (B, T, F) -> (B, T, D)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.d_model, config.mlp_size)
        self.down = nn.Linear(config.mlp_size, config.d_model)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x)))


class Block(nn.Module):
    """One transformer block: (B, T, D) -> (B, T, D)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.d_model)
        self.attention = Attention(config)
        self.norm2 = nn.LayerNorm(config.d_model)
        self.mlp = MLP(config)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    """The whole model: tokens (B, T) -> logits (B, T, V)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.vocab_size, config.d_model)
        self.positions = nn.Embedding(config.seq_len, config.d_model)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.d_model)

    def forward(self, tokens: Tensor) -> Tensor:
        """Predict every next token.

        Args:
            tokens: (B, T) int64, T at most `seq_len`.

        Returns:
            Logits (B, T, V): entry t scores the token that follows token t.

        Raises:
            ValueError: the sequence is longer than the model has positions for.
        """
        length = tokens.shape[1]
        if length > self.config.seq_len:
            raise ValueError(
                f"the sequence has {length} tokens, but the model has positions for "
                f"{self.config.seq_len}: cut it, or build the model with a larger seq_len"
            )
        x = self.tokens(tokens) + self.positions.weight[:length]
        for block in self.blocks:
            x = block(x)
        # Tied head: the table that turns tokens into vectors also turns vectors into scores.
        return F.linear(self.norm(x), self.tokens.weight)


def summed_token_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy summed over all tokens, in nats: a scalar.

    A sum and no mean, because sums over micro-batches and ranks add up to the same number however
    the batch is cut; the one division by the number of tokens is in train/step.py.

    Args:
        logits: (B, T, V).
        targets: (B, T) int64, the tokens that did follow.
    """
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
