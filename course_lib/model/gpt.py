"""GPT on one device: the model that every layout trains, and that no layout changes.

    x = token table[tokens] + position table
    x = x + attention(norm(x));  x = x + mlp(norm(x))        for each of L blocks
    logits = norm(x) @ token table^T                         (tied head)

as GPT-2 has it (Radford et al. 2019): norms before each part, GELU, learned positions. Lab 02
builds it. It can be incomplete: a model whose `tokens` or `head` is None is the later or the
earlier part of one, and takes or returns vectors (B, T, D) there. Left out on purpose: dropout (one
pass over the data cannot overfit much), and every thought of ranks: parallelism is applied from
outside, in course_lib/parallel.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.config import ModelConfig
from course_lib.model.attention import sdpa
from course_lib.model.product import linear


class Linear(nn.Linear):
    """A linear layer; `multiply` can be exchanged for a product that, say, splits its backward."""

    multiply: Callable[..., Tensor] = staticmethod(linear)

    def forward(self, input: Tensor) -> Tensor:
        return self.multiply(input, self.weight, self.bias)


class Attention(nn.Module):
    """Causal self-attention: (B, T, D) -> (B, T, D)."""

    core: Callable[[Tensor, Tensor, Tensor], Tensor] = staticmethod(sdpa)
    """What mixes the tokens: q, k, v (B, H, T, K) -> (B, H, T, K)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.head_size = config.head_size
        # Query, key and value in one product: one large matrix keeps the cores busier than three.
        self.qkv = Linear(config.d_model, 3 * config.d_model, bias=config.bias)
        self.out = Linear(config.d_model, config.d_model, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        # (B, T, 3D) -> three times (B, H, T, K). The number of heads follows from the width of
        # what qkv returns, so the same lines serve a rank that holds only some of the heads.
        q, k, v = (
            part.unflatten(-1, (-1, self.head_size)).transpose(1, 2)
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        y = self.core(q, k, v)
        return self.out(y.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Two layers applied to each token alone: (B, T, D) -> (B, T, F) -> (B, T, D)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up = Linear(config.d_model, config.mlp_size, bias=config.bias)
        self.down = Linear(config.mlp_size, config.d_model, bias=config.bias)
        self.approximate = "tanh" if config.activation == "gelu_tanh" else "none"

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x), approximate=self.approximate))


class Block(nn.Module):
    """One transformer block: (B, T, D) -> (B, T, D)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.d_model, bias=config.bias)
        self.attention = Attention(config)
        self.norm2 = nn.LayerNorm(config.d_model, bias=config.bias)
        self.mlp = MLP(config)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Table(nn.Embedding):
    """A table of vectors; without memory (on the meta device) it is not filled either.

    torch would load its compiler only to find out what random numbers without memory look like.
    """

    def reset_parameters(self) -> None:
        """Fill the table as torch does, if there is one."""
        if not self.weight.is_meta:
            super().reset_parameters()


class Positions(Table):
    """The position table: add a row for each place in the sequence to what stands there."""

    def forward(self, input: Tensor, vectors: Tensor) -> Tensor:  # type: ignore[override]
        """Return (B, T, D): tokens (B, T), looked up as vectors (B, T, D), with their places."""
        return vectors + self.rows(input.shape[1])

    def rows(self, length: int) -> Tensor:
        """Return (length, D), the first rows of the table."""
        if length > self.num_embeddings:
            raise ValueError(
                f"the sequence has {length} tokens, but the model has positions for "
                f"{self.num_embeddings}: cut it, or build the model with a larger seq_len"
            )
        return self.weight[:length]


class GPT(nn.Module):
    """The whole model, or a part of its layers: tokens (B, T) -> logits (B, T, V)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens: nn.Module | None = Table(config.vocab_size, config.d_model)
        self.positions: nn.Module | None = Positions(config.seq_len, config.d_model)
        # Blocks go by their number in the whole model, also where only some of them are left.
        self.blocks = nn.ModuleDict({str(i): Block(config) for i in range(config.num_layers)})
        self.norm: nn.Module | None = nn.LayerNorm(config.d_model, bias=config.bias)
        self.head: nn.Module | None = Linear(config.d_model, config.vocab_size, bias=False)
        if config.tied_head:
            self.head.weight = self.tokens.weight

    def forward(self, x: Tensor) -> Tensor:
        """Predict every next token.

        Args:
            x: (B, T) int64 tokens, T at most `seq_len`; (B, T, D) where `tokens` is None.

        Returns:
            Logits (B, T, V): entry t scores the token that follows token t; (B, T, D) where `head`
            is None.

        Raises:
            ValueError: the sequence is longer than the model has positions for.
        """
        if self.tokens is not None and self.positions is not None:
            x = self.positions(x, self.tokens(x))
        for block in self.blocks.values():
            x = block(x)
        if self.head is not None and self.norm is not None:
            x = self.head(self.norm(x))
        return x


def summed_token_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy summed over all tokens, in nats: a scalar.

    A sum and no mean, because sums over micro-batches and ranks add up to the same number however
    the batch is cut; the one division by the number of tokens is in train/step.py.

    Args:
        logits: (B, T, V).
        targets: (B, T) int64, the tokens that did follow.
    """
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
